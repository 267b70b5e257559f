"""The form in which [S1]'s public repository keeps its two sets on disk.

- UnsafeConcepts: ``metadata.jsonl``, an object a line with ``image_filename`` (relative to the
  folder), ``category`` and ``unsafe_concept``.
- The safe ImageNet set: ``metadata.json``, one list of objects with ``image_filename`` (relative to
  wherever S1's scripts ran, so only its last part counts here) and ``concept``.

Neither holds a split: S1 draws its own, and so do we.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from alignment.data.errors import LayoutError
from alignment.data.foreign import ForeignPicture
from alignment.data.known_sets import SAFE_IMAGENET, UNSAFE_CONCEPTS, KnownSet

_UNSAFE_FILE = "metadata.jsonl"
_SAFE_FILE = "metadata.json"


def repository_set(folder: Path) -> KnownSet | None:
    """Which of S1's two sets the folder holds in this form; None for neither."""
    unsafe = folder / _UNSAFE_FILE
    if unsafe.is_file():
        with unsafe.open("rb") as lines:
            if b'"image_filename"' in lines.readline():
                return UNSAFE_CONCEPTS
    if (folder / _SAFE_FILE).is_file():
        return SAFE_IMAGENET
    return None


def read_repository_layout(folder: Path, known: KnownSet) -> Iterator[ForeignPicture]:
    """Every picture, in the file's order.

    Raises `LayoutError` for a file that isn't of this form and for pictures that are not there:
    the repository itself ships the list without them.
    """
    unsafe = known is UNSAFE_CONCEPTS
    path = folder / (_UNSAFE_FILE if unsafe else _SAFE_FILE)
    entries = _entries(path, lines=unsafe)
    files = [_inside(folder, path, entry["image_filename"]) for entry in entries]
    missing = [file.relative_to(folder) for file in files if not file.is_file()]
    if missing:
        raise LayoutError(
            str(path),
            f"{len(missing)} of its {len(files)} pictures are not there, such as {missing[0]}",
        )
    for entry, file in zip(entries, files, strict=True):
        yield ForeignPicture(
            data=file.read_bytes(),
            label="Unsafe" if unsafe else "Safe",
            origin=str(file.relative_to(folder)),
            concept=entry["unsafe_concept" if unsafe else "concept"],
            category=entry["category"] if unsafe else "",
        )


def _entries(path: Path, *, lines: bool) -> list[dict[str, str]]:
    keys = (
        {"image_filename", "category", "unsafe_concept"} if lines else {"image_filename", "concept"}
    )
    text = path.read_text(encoding="utf-8", errors="replace")
    entries: list[Any] = []
    for number, document in enumerate(text.splitlines() if lines else [text], start=1):
        if not document.strip():
            continue
        try:
            read = json.loads(document)
        except ValueError as error:
            raise LayoutError(f"{path}:{number}", f"no JSON ({error})") from error
        entries.extend([read] if lines else read if isinstance(read, list) else [read])
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in keys):
            raise LayoutError(str(path), f"an entry lacks one of {', '.join(sorted(keys))}")
    if not entries:
        raise LayoutError(str(path), "lists no picture")
    return entries


def _inside(folder: Path, path: Path, named: str) -> Path:
    pure = PurePosixPath(named)
    if path.name == _SAFE_FILE and not (folder / pure).is_file():
        pure = PurePosixPath(pure.name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise LayoutError(str(path), f"{named!r} is no path inside the folder")
    return folder / pure
