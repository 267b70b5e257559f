"""Builds the icon set from icon packages: names decide labels, and no test symbol gets in.

Packages are files of `npm pack @iconify-json/PREFIX` in one folder, in the versions that
icon_set_credits.json credits. Left out are icons whose licence isn't open, whose author isn't
known, whose name has the words of a held-out picture's name (`icon_set.HeldOutSymbols`), or whose
picture is a near-duplicate of one (`near_duplicates`). Every package gives as many safe drawings to
its unsafe ones, so that a style never tells the label. The same packages, folders and renderer give
the same set.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter
from numpy.typing import NDArray
from PIL import Image

from alignment.data.errors import DataError
from alignment.data.icon_drawing import Renderer, draw, resvg
from alignment.data.icon_names import (
    IconLabel,
    IconNames,
    IconSource,
    caption_of,
    load_icon_names,
    words_of,
)
from alignment.data.icon_packages import IconPackage, read_icon_package
from alignment.data.icon_set import ICON_LICENCES, MAX_ICON_SET_BYTES, HeldOutSymbols
from alignment.data.manifest import MANIFEST_NAME, SAFE, ImageSet, read_image_set
from alignment.data.near_duplicates import MAX_DISTANCE, perceptual_hash
from alignment.data.open_set import OPEN_STYLES, read_open_set
from alignment.data.open_set_credits import Collection, Credits, attribution
from alignment.data.splits import SEED
from alignment.data.validation import NothingToHoldBackError, with_validation
from server.concepts.data_file import read_data_file
from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError

ICON_CREDITS_FILE = Path(__file__).with_name("icon_set_credits.json")
SAFE_PER_UNSAFE = 1.5
WEBP_QUALITY = 78

_IMAGES = "images"
_ATTRIBUTION = "ATTRIBUTION.md"
_RECORD = "build.json"

app = App(name="build_icon_set", help="Build the icon set from icon packages.")


class IconSetError(DataError):
    """The set can't be built; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What must not be learnt: test and validation pictures of one or more sets."""

    symbols: HeldOutSymbols
    hashes: NDArray[np.uint64]
    sets: tuple[dict[str, Any], ...]

    def has_copy_of(self, picture: Image.Image) -> bool:
        """Whether the picture is a near-duplicate of a held-out drawing."""
        distances = np.bitwise_count(self.hashes ^ np.uint64(perceptual_hash(picture)))
        return bool((distances <= MAX_DISTANCE).any())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelled icon of a package, and whom to thank for it."""

    package: IconPackage
    style: str
    slug: str
    label: IconLabel
    collection: Collection
    author: str

    @property
    def key(self) -> str:
        """What names it in every version of its package."""
        return f"{self.package.prefix}:{self.slug}"

    @property
    def rank(self) -> str:
        """An order that has nothing to do with names."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    def line(self, content: bytes, side_px: int) -> dict[str, Any]:
        """Its line of the manifest."""
        words, concept = self.label.name.replace("-", " "), self.label.concept
        id_ = f"i{self.rank[:12]}"
        return {
            "id": id_,
            "file": f"{_IMAGES}/{id_}.webp",
            "width": side_px,
            "height": side_px,
            "style": self.style,
            "label": "Unsafe" if concept else SAFE,
            "concept": concept or words,
            "category": load_taxonomy().category_of(concept) if concept else SAFE,
            "proxy": self.label.proxy,
            "caption": caption_of(self.style, self.label.name),
            "split": "train",
            "group": f"drawing:{self.label.name}",
            "source": f"npm:{self.package.name}@{self.package.version}#{self.slug}",
            "license": self.package.license,
            "author": self.author,
            "sha256": hashlib.sha256(content).hexdigest(),
        }


@dataclass(slots=True)
class Built:
    """What was written, and how many icons were left out for which reason."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    total_bytes: int = 0


@cache
def load_icon_credits() -> Credits:
    """Whom the set's pictures are owed to, read once. Raises `DataFileError`."""
    return read_data_file(ICON_CREDITS_FILE, Credits)


def held_out_of(sets: Iterable[ImageSet]) -> HeldOut:
    """Their test split and the validation split that tuning cuts from their train split."""
    names, hashes, records = [], [], []
    for images in sets:
        try:
            known = with_validation(images)
        except NothingToHoldBackError:
            known = images
        held = [one for one in known.examples if one.split != "train"]
        names += held
        drawn = [one for one in held if one.style in OPEN_STYLES]
        hashes += [perceptual_hash(images.open(one)) for one in drawn]
        records.append({"name": images.name, "sha256": images.sha256, "held_out": len(held)})
    return HeldOut(HeldOutSymbols(names), np.array(hashes, dtype=np.uint64), tuple(records))


def build_icon_set(
    packages: Sequence[IconPackage],
    out: Path,
    *,
    held_out: HeldOut,
    render: Renderer,
    renderer: str,
    names: IconNames | None = None,
    credit: Credits | None = None,
    seed: int = SEED,
) -> Built:
    """Write manifest.jsonl, images, ATTRIBUTION.md and build.json to `out`.

    Raises `IconSetError` if `out` holds a set already, a package is missing or not credited, or the
    set gets too large.
    """
    taken = [out / name for name in (MANIFEST_NAME, _IMAGES, _ATTRIBUTION, _RECORD)]
    if standing := [path.name for path in taken if path.exists()]:
        raise IconSetError(f"{out} already holds {', '.join(standing)}: remove them first")
    names, credit = names or load_icon_names(), credit or load_icon_credits()
    by_prefix = {package.prefix: package for package in packages}
    built = Built()
    used: list[tuple[Collection, str]] = []
    (out / _IMAGES).mkdir(parents=True)
    for source in sorted(names.packages, key=lambda one: one.prefix):
        if source.prefix not in by_prefix:
            raise IconSetError(f"no package of {source.prefix!r} is given")
        package = by_prefix[source.prefix]
        for one in _chosen(_candidates(package, source, names, credit, held_out, built.left_out)):
            picture = draw(package.icons[one.slug], render, key=one.key, seed=seed)
            if held_out.has_copy_of(picture):
                built.left_out["near-duplicate of a held-out picture"] += 1
                continue
            content = _webp(picture)
            line = one.line(content, picture.width)
            (out / line["file"]).write_bytes(content)
            built.lines.append(line)
            built.total_bytes += len(content)
            used.append((one.collection, one.author))
    if not built.lines:
        raise IconSetError("nothing is left to draw")
    if built.total_bytes > MAX_ICON_SET_BYTES:
        raise IconSetError(f"{built.total_bytes} bytes, the limit is {MAX_ICON_SET_BYTES}")
    _write(
        built,
        used,
        out,
        {
            "renderer": renderer,
            "names": names.version,
            "seed": seed,
            "packages": {
                one.name: one.version
                for one in packages
                if one.prefix in {source.prefix for source in names.packages}
            },
            "clear_of": list(held_out.sets),
            "left_out": dict(sorted(built.left_out.items())),
        },
    )
    return built


def _candidates(
    package: IconPackage,
    source: IconSource,
    names: IconNames,
    credit: Credits,
    held_out: HeldOut,
    left_out: Counter[str],
) -> list[Candidate]:
    collection = credit.of(package.name, package.version)
    if collection is None:
        raise IconSetError(f"nobody is credited for {package.name} {package.version}")
    if package.license != collection.license or package.license not in ICON_LICENCES:
        raise IconSetError(f"{package.name} is under {package.license}")
    found = []
    for slug, label in names.labels(source, package.icons).items():
        author = collection.author_of(slug)
        if held_out.symbols.holds(words_of(slug)):
            left_out["symbol of a held-out picture"] += 1
        elif author is None:
            left_out["author not known"] += 1
        else:
            found.append(Candidate(package, source.style, slug, label, collection, author))
    return sorted(found, key=lambda one: one.rank)


def _chosen(candidates: Sequence[Candidate]) -> list[Candidate]:
    unsafe = [one for one in candidates if one.label.unsafe]
    safe = [one for one in candidates if not one.label.unsafe]
    return unsafe + safe[: round(SAFE_PER_UNSAFE * len(unsafe))]


def _webp(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=WEBP_QUALITY, method=6)
    return buffer.getvalue()


def _write(
    built: Built, used: Sequence[tuple[Collection, str]], out: Path, record: dict[str, Any]
) -> None:
    built.lines.sort(key=lambda line: str(line["id"]))
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in built.lines]
    (out / MANIFEST_NAME).write_text("".join(lines), encoding="utf-8")
    sides_px = [int(line["width"]) for line in built.lines]
    (out / _ATTRIBUTION).write_text(attribution(used, sides_px), encoding="utf-8")
    (out / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@app.default
def build(
    packages: Path,
    out: Path,
    *,
    clear_of: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
) -> None:
    """Draw what the list of names labels, with a manifest and an attribution page.

    Parameters
    ----------
    packages
        A folder of .tgz files from `npm pack`.
    out
        Where the set goes; must not hold one yet.
    clear_of
        Folders with a manifest.jsonl to whose test and validation pictures nothing may be alike;
        the open set is stayed clear of in any case.
    """
    render, renderer = resvg()
    sets = [read_open_set(), *(read_image_set(folder) for folder in clear_of)]
    built = build_icon_set(
        [read_icon_package(path) for path in sorted(packages.glob("*.tgz"))],
        out,
        held_out=held_out_of(sets),
        render=render,
        renderer=renderer,
    )
    unsafe = sum(line["label"] != SAFE for line in built.lines)
    size = f"{unsafe} unsafe, {built.total_bytes} bytes"
    print(f"wrote {len(built.lines)} pictures ({size}) to {out}")  # noqa: T201
    for reason, count in sorted(built.left_out.items()):
        print(f"left out: {count} ({reason})")  # noqa: T201


def main() -> None:
    """Run the command line; errors raised on purpose are one line, not a traceback."""
    try:
        app()
    except SightwardError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
