"""The taking in of foreign pictures: each checked, named after its bytes, written and labelled.

Ids are hashes of the bytes, so the same pictures with the same labels have the same content hash
whatever they were imported from. What is left out is counted, never dropped in silence: pictures
that the decoder refuses, rows without a label, and, where the source has splits of its own, train
pictures that are near-duplicates of a test picture (the test split stays as published).
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from alignment.data.columns import Label
from alignment.data.errors import LayoutError
from alignment.data.foreign import ForeignPicture
from alignment.data.manifest import Example
from alignment.data.near_duplicates import near_duplicate_groups, perceptual_hash
from server.concepts.taxonomy import load_taxonomy
from server.errors import ImageError
from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits

_AT_ONCE = 32
_NAMED_IN_NOTES = 5
_NO_LABEL = "no label"
_TWIN = "a near-duplicate of a test picture"


@dataclass(frozen=True, slots=True)
class _Taken:
    picture: ForeignPicture
    label: Label
    id: str
    file: str
    look: int


class _Look(NamedTuple):
    """What decoding showed: the format's name and the perceptual hash."""

    suffix: str
    hash: int


class Intake:
    """Takes pictures one by one, writes their bytes, and keeps what the manifest needs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.left_out: dict[str, str] = {}
        """Why, by where in the source a picture stands."""
        self._folder = folder
        self._name = name
        self._taken: list[_Taken] = []
        self._copies: Counter[str] = Counter()
        self._decoder = ImageDecoder(ImageLimits())
        self._unknown: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def take(self, pictures: Iterable[ForeignPicture]) -> None:
        """Decode to check and to compare, then write the bytes as they came."""
        (self._folder / "images").mkdir()
        columns = (
            TextColumn("importing {task.description}"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        # Pillow decodes outside the interpreter's lock, so threads halve the time of a large set.
        console = Console(stderr=True)
        with (
            Progress(
                *columns, console=console, transient=True, disable=not console.is_terminal
            ) as progress,
            ThreadPoolExecutor() as threads,
        ):
            task = progress.add_task(self._name, total=None)
            for batch in _batches(pictures):
                for picture, seen in zip(batch, threads.map(self._look, batch), strict=True):
                    self._keep(picture, seen)
                progress.advance(task, len(batch))

    def examples(self) -> tuple[list[Example], dict[str, str]]:
        """The examples in the source's order, and where in it each stands."""
        group_of = {one.id: one.picture.group for one in self._taken}
        if not any(group_of.values()):
            group_of = near_duplicate_groups({one.id: one.look for one in self._taken})
        split_of = self._splits()
        tested = {group_of[key] for key, split in split_of.items() if split == "test"} - {""}
        kept = []
        for one in self._taken:
            if split_of[one.id] == "train" and group_of[one.id] in tested:
                self.left_out[one.picture.origin] = _TWIN
            else:
                kept.append(one)
        if not kept:
            said = "; ".join(self.notes()) or "it holds none"
            raise LayoutError(self._name, f"no picture can be used: {said}")
        examples = [self._example(one, group_of[one.id], split_of[one.id]) for one in kept]
        return examples, {one.id: one.picture.origin for one in kept}

    def notes(self) -> list[str]:
        """What was left out or is unknown, with the number of pictures."""
        reasons = Counter(self.left_out.values())
        refused = len(self.left_out) - reasons[_TWIN] - reasons[_NO_LABEL]
        notes = [
            f"left out {why}: {count}"
            for why, count in (
                ("because they can't be decoded", refused),
                ("for want of a label", reasons[_NO_LABEL]),
                ("of train as near-duplicates of test pictures", reasons[_TWIN]),
            )
            if count
        ]
        for kind, names in sorted(self._unknown.items()):
            listed = ", ".join(name for name, _ in names.most_common(_NAMED_IN_NOTES))
            more = ", ..." if len(names) > _NAMED_IN_NOTES else ""
            notes.append(
                f"unsafe, of a {kind} outside the taxonomy, taken as unknown: "
                f"{names.total()} ({listed}{more})"
            )
        return notes

    def _look(self, picture: ForeignPicture) -> _Look | str:
        """What the picture is, or why it can't be taken."""
        try:
            checked = self._decoder.decode(picture.data)
        except ImageError as error:
            return str(error) or "holds nothing"
        return _Look(checked.image_format.lower(), perceptual_hash(checked.image))

    def _keep(self, picture: ForeignPicture, seen: _Look | str) -> None:
        if isinstance(seen, str):
            self.left_out[picture.origin] = seen
            return
        if picture.label is None:
            self.left_out[picture.origin] = _NO_LABEL
            return
        digest = hashlib.sha256(picture.data).hexdigest()[:16]
        file = f"images/{digest}.{seen.suffix}"
        self._copies[digest] += 1
        copy = self._copies[digest]
        if copy == 1:
            (self._folder / file).write_bytes(picture.data)
        known_as = digest if copy == 1 else f"{digest}-{copy}"
        # The bytes are on disk now; a large set's would not fit into memory.
        kept = replace(picture, data=b"")
        self._taken.append(_Taken(kept, picture.label, known_as, file, seen.hash))

    def _splits(self) -> dict[str, Literal["train", "test"] | None]:
        """Our split of each picture: none unless the source has a train split and another."""
        trained = {one.id: one.picture.split.startswith("train") for one in self._taken}
        if len(set(trained.values())) == 1:
            return dict.fromkeys(trained)
        return {key: "train" if is_train else "test" for key, is_train in trained.items()}

    def _example(self, one: _Taken, group: str, split: Literal["train", "test"] | None) -> Example:
        picture = one.picture
        concept, category = picture.concept, ""
        if one.label == "Unsafe":
            concept = self._known("concept", picture.concept, load_taxonomy().concept_names)
            if not concept:
                category = self._known("category", picture.category, load_taxonomy().category_names)
        return Example(
            id=one.id,
            file=one.file,
            label=one.label,
            concept=concept,
            category=category,
            caption=picture.caption,
            split=split,
            group=group,
        )

    def _known(self, kind: str, name: str, names: tuple[str, ...]) -> str:
        """The taxonomy's spelling of a name; empty, and counted, where it has none such."""
        for known in names:
            if known.casefold() == name.strip().casefold():
                return known
        if name:
            self._unknown[kind][name] += 1
        return ""


def _batches(pictures: Iterable[ForeignPicture]) -> Iterator[list[ForeignPicture]]:
    rest = iter(pictures)
    while batch := list(islice(rest, _AT_ONCE)):
        yield batch
