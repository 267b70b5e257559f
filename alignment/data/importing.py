"""From a foreign source to an ordinary manifest folder in the user's cache, once.

A folder is built under a temporary name and renamed, behind a lock, so two processes do the work
once and nobody reads half a set. ``import.json`` keeps what was asked for, what was left out and
the content hash; a folder that no longer has that hash is built again.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from alignment.data.errors import CacheWriteError, DataError, LayoutError, ManifestError
from alignment.data.foreign import ForeignPicture
from alignment.data.intake import Intake
from alignment.data.manifest import MANIFEST_NAME, Example, ImageSet, read_image_set

IMPORT_NAME = "import.json"
# Raise when the code below makes something else of the same source.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What identifies an import: equal requests give the same folder.

    `source` is a hub id or a folder's path; `version` the hub's commit, or a fingerprint of the
    folder's files; `asked` everything else that changes the outcome (columns, split, seeds).
    """

    name: str
    source: str
    version: str
    asked: Mapping[str, Any]

    def folder_in(self, root: Path) -> Path:
        """Where the import lies under the data cache `root`."""
        text = json.dumps([_FORMAT, asdict(self)], sort_keys=True)
        slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", self.name).strip("-.") or "set"
        return root / f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Filled:
    """What was put into a folder: its examples and what there is to say about them.

    `origins` are where in the source an example stands, `left_out` why others are not there.
    """

    examples: Sequence[Example]
    notes: Sequence[str]
    origins: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def imported(
    request: ImportRequest, root: Path, read: Callable[[], Iterable[ForeignPicture]]
) -> ImageSet:
    """The import as an `ImageSet`, taking in `read()` where there is none yet.

    Raises `CacheWriteError`, `LayoutError` where no picture can be used, and whatever `read` does.
    """

    def fill(folder: Path) -> Filled:
        intake = Intake(folder, request.name)
        intake.take(read())
        examples, origins = intake.examples()
        return Filled(examples, intake.notes(), origins, intake.left_out)

    return built_once(request, root, fill)


def built_once(request: ImportRequest, root: Path, fill: Callable[[Path], Filled]) -> ImageSet:
    """The request's folder as an `ImageSet`, filled by `fill` where it isn't whole.

    Raises `CacheWriteError`, and whatever `fill` raises.
    """
    target = request.folder_in(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        # The lock spares a second process the work; the rename is what keeps readers safe.
        with FileLock(root / f".{target.name}.lock"):
            found = read_import(target)
            if found is None:
                _build(request, target, fill)
                found = read_import(target)
    except OSError as error:
        raise _refused(error, request, root) from error
    if found is None:
        raise CacheWriteError(target, "what was written reads back differently")
    return found


def latest_import(root: Path, source: str, asked: Mapping[str, Any]) -> ImageSet | None:
    """The newest import of any version of a source, for when its owner can't be reached."""
    found: list[tuple[float, Path]] = []
    for path in root.glob(f"*/{IMPORT_NAME}"):
        record = _record(path.parent)
        if record and record["source"] == source and record["asked"] == _as_json(asked):
            found.append((path.stat().st_mtime, path.parent))
    for _, folder in sorted(found, reverse=True):
        if (images := read_import(folder)) is not None:
            return images
    return None


def read_import(folder: Path) -> ImageSet | None:
    """A whole import; None where there is none or its contents have changed."""
    record = _record(folder)
    if record is None:
        return None
    try:
        images = read_image_set(folder, name=record["name"], notes=tuple(record["notes"]))
    except ManifestError:
        return None
    return images if images.sha256 == record["sha256"] else None


def _refused(error: OSError, request: ImportRequest, root: Path) -> DataError:
    """Whether the cache can't be written or the source can't be read."""
    reason = error.strerror or str(error)
    where = Path(str(error.filename)) if error.filename else root
    if where.is_relative_to(root):
        return CacheWriteError(where, reason)
    return LayoutError(request.source, f"{where.name} can't be read: {reason}")


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / IMPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys = {"name", "source", "version", "asked", "notes", "sha256"}
    return record if isinstance(record, dict) and keys <= record.keys() else None


def _build(request: ImportRequest, target: Path, fill: Callable[[Path], Filled]) -> None:
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    )
    try:
        filled = fill(partial)
        with (partial / MANIFEST_NAME).open("w", encoding="utf-8") as manifest:
            for example in filled.examples:
                line = example.model_dump(exclude_none=True)
                if origin := filled.origins.get(example.id):
                    line["origin"] = origin
                manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
        record = asdict(request) | {
            "notes": list(filled.notes),
            "left_out": dict(filled.left_out),
            "sha256": read_image_set(partial).sha256,
        }
        (partial / IMPORT_NAME).write_text(json.dumps(record, indent=1), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it will read back from a file: tuples become lists."""
    read: dict[str, Any] = json.loads(json.dumps(value))
    return read
