"""One door for every source of labelled pictures, all of which come out as an `ImageSet`.

A source is a folder with a manifest, read where it lies; or one of the sets that ship; or a folder
in [S1]'s repository layout or one of the hub's layouts, or a data set on the hub, each imported
once into a manifest folder in the user's cache (`importing`); or two sources joined by ``+``
(`combine`).
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alignment.data import hub
from alignment.data.columns import ColumnMap
from alignment.data.combine import combine
from alignment.data.errors import (
    HubUnreachableError,
    LayoutError,
    UnknownSourceError,
    UnnamedColumnsError,
)
from alignment.data.foreign import ForeignPicture
from alignment.data.hub_layout import HubFolder
from alignment.data.icon_set import read_icon_set
from alignment.data.importing import ImportRequest, imported, latest_import
from alignment.data.known_sets import KnownSet, known_by_columns, known_by_id
from alignment.data.manifest import MANIFEST_NAME, ImageSet, read_image_set
from alignment.data.open_set import read_open_set
from alignment.data.repository_layout import read_repository_layout, repository_set
from server.vlm.cache import cache_root

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_JOINED_BY = "+"
_SHIPPED = {"open_set": read_open_set, "icon_set": read_icon_set}


def open_image_set(
    spec: str | Path,
    *,
    columns: ColumnMap | None = None,
    split: str | None = None,
    revision: str | None = None,
    cache_dir: Path | None = None,
) -> ImageSet:
    """Open a labelled set of pictures.

    `spec` is a folder, ``open_set`` or ``icon_set``, which ship, a hub id ``owner/name``, or two of
    them as ``unsafe+safe``: all of the first and as many safe pictures of the second as it lacks
    for balance. `columns` describe a table
    whose layout is none of the known ones. `split` takes one of the source's own splits only, and
    `revision` a branch, tag or commit of the hub. Imports lie under `cache_dir` (default: the
    user's cache folder).

    The examples' splits are the source's own where it has a train split and others; else there are
    none yet, and `splits.split_by_concept` makes them. Raises a `DataError`, whose message is one
    line for the user.
    """
    text = str(spec)
    cache = (cache_dir or cache_root()) / "data"
    asked = _Asked(text, columns, split, revision)
    folder = Path(spec).expanduser()
    if text and folder.is_dir():
        return _open_folder(folder, asked, cache)
    if text.replace("-", "_") in _SHIPPED:
        if asked.anything:
            raise LayoutError(text, "a set that ships takes no columns, no split and no revision")
        return _SHIPPED[text.replace("-", "_")]()
    first, joined, second = text.partition(_JOINED_BY)
    if joined and first and second:
        if asked.anything:
            raise LayoutError(text, "columns, split and revision can't be said of two sets at once")
        return combine(
            open_image_set(first, cache_dir=cache_dir),
            open_image_set(second, cache_dir=cache_dir),
            cache_dir=cache_dir,
        )
    if _HUB_ID.fullmatch(text):
        return _open_hub_set(text, asked, cache)
    raise UnknownSourceError(text)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the caller said about a source."""

    source: str
    columns: ColumnMap | None
    split: str | None
    revision: str | None

    @property
    def anything(self) -> bool:
        return (self.columns, self.split, self.revision) != (None, None, None)

    def for_request(self) -> dict[str, Any]:
        columns = asdict(self.columns) if self.columns else None
        return {"columns": columns, "split": self.split, "revision": self.revision}


def _open_folder(folder: Path, asked: _Asked, cache: Path) -> ImageSet:
    if asked.revision is not None:
        raise LayoutError(asked.source, "a folder has no revisions")
    if (folder / MANIFEST_NAME).is_file():
        if asked.anything:
            raise LayoutError(
                asked.source, f"a folder with a {MANIFEST_NAME} takes no columns and no split"
            )
        return read_image_set(folder)
    published = repository_set(folder) if asked.columns is None else None
    if published is not None and asked.split is not None:
        raise LayoutError(asked.source, f"no split {asked.split!r}: this layout has none")
    resolved = folder.resolve()
    request = ImportRequest(
        name=published.name if published else resolved.name,
        source=str(resolved),
        version=_fingerprint(resolved),
        asked=asked.for_request(),
    )
    if published is not None:
        return imported(request, cache, lambda: read_repository_layout(folder, published))
    return imported(request, cache, _table(folder, asked, asked.columns))


def _open_hub_set(repo_id: str, asked: _Asked, cache: Path) -> ImageSet:
    known = known_by_id(repo_id)
    columns = asked.columns or (known.columns if known else None)
    if columns is None:
        # Before the download, which may be large.
        raise UnnamedColumnsError(repo_id)
    try:
        snapshot = hub.fetch(repo_id, revision=asked.revision, files=columns.files)
    except HubUnreachableError as error:
        stored = latest_import(cache, repo_id, asked.for_request())
        if stored is None:
            raise
        note = f"an earlier import of {repo_id} was used: {error.reason}"
        return replace(stored, notes=(*stored.notes, note))
    request = ImportRequest(
        name=repo_id.partition("/")[2],
        source=repo_id,
        version=snapshot.commit,
        asked=asked.for_request(),
    )
    return imported(request, cache, _table(snapshot.folder, asked, asked.columns or known))


def _table(
    folder: Path, asked: _Asked, columns: ColumnMap | KnownSet | None
) -> Callable[[], Iterable[ForeignPicture]]:
    """Reads a hub layout when called; until then nothing slow is loaded."""

    def read() -> Iterable[ForeignPicture]:
        if isinstance(columns, ColumnMap):
            table = HubFolder(
                folder, source=asked.source, config=columns.config, files=columns.files
            )
            return table.read(columns, split=asked.split)
        table = HubFolder(folder, source=asked.source)
        known = columns or known_by_columns(table.columns)
        if known is None:
            raise UnnamedColumnsError(asked.source, tuple(sorted(table.columns)))
        return table.read(known.columns_in(table.columns), split=asked.split)

    return read


def _fingerprint(folder: Path) -> str:
    """Changes with any file's name, size or time; hashing gigabytes at each start would not pay."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            about = path.stat()
            digest.update(f"{inside}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
