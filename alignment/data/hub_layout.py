"""A folder laid out as on the Hugging Face hub: parquet files, or images beside a metadata file.

The `datasets` library tells the layouts apart and finds the splits. It is read as a stream, which
copies nothing into its own cache, and with image columns left undecoded, so that what reaches us
are the bytes the owner published. The library is slow to import and is loaded on use.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from alignment.data.columns import ColumnMap
from alignment.data.errors import LayoutError
from alignment.data.foreign import ForeignPicture
from server.concepts.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from datasets import IterableDataset

_LONGEST_FILE_NAME = 300
_NAMED_IN_ERRORS = 8


class HubFolder:
    """A folder in one of the hub's layouts, its splits found and its columns known.

    `source` is what messages call it. `files`, a pattern, takes only those files, as one split:
    the library's own copy of a hub set may hold others from earlier downloads. Raises `LayoutError`
    where the library finds no table.
    """

    def __init__(self, folder: Path, *, source: str, config: str = "", files: str = "") -> None:
        self._folder = folder.absolute()
        self._source = source
        self._splits = self._open(config, files)
        first = next(iter(self._splits.values()))
        features = first.features
        names = list(features) if features else self._first_row_names(first)
        self.columns = frozenset(names)

    def read(self, columns: ColumnMap, *, split: str | None) -> Iterator[ForeignPicture]:
        """The pictures of one split, or of all.

        Raises `LayoutError` for a split or column that isn't there, for rows that can't be read,
        and, at the end, for a value said to mean unsafe that no row has: taking all of a mistyped
        set for safe would be the worst way to go on.
        """
        if split is not None and split not in self._splits:
            raise LayoutError(self._source, f"no split {split!r}; it has {', '.join(self._splits)}")
        absent = [name for name in columns.columns if name not in self.columns]
        if absent:
            raise LayoutError(
                self._source,
                f"no column {absent[0]!r}; it has {', '.join(sorted(self.columns))}",
            )
        seen: set[str] = set()
        for name in self._splits if split is None else (split,):
            yield from self._read_split(name, columns, seen)
        unseen = columns.unseen(seen)
        if unseen and not columns.all_are:
            found = sorted(seen)
            more = ", ..." if len(found) > _NAMED_IN_ERRORS else ""
            raise LayoutError(
                self._source,
                f"no row has {columns.label}={unseen[0]!r}; "
                f"there are {', '.join(found[:_NAMED_IN_ERRORS])}{more}",
            )

    def _read_split(
        self, split: str, columns: ColumnMap, seen: set[str]
    ) -> Iterator[ForeignPicture]:
        from datasets import Image

        rows = self._splits[split]
        features = rows.features or {}
        for name, feature in features.items():
            if isinstance(feature, Image):
                rows = rows.cast_column(name, Image(decode=False))
        class_names = tuple(getattr(features.get(columns.label), "names", None) or ()) or None
        for number, row in enumerate(self._guarded(rows)):
            label, texts = columns.label_of(row, class_names)
            seen.update(texts)
            concept = _name(row, columns.concept, features)
            if not columns.label and label == "Safe" and concept in load_taxonomy().concept_names:
                raise LayoutError(
                    self._source,
                    f"{concept!r} is an unsafe concept in a set taken as all safe; "
                    "name its columns and labels",
                )
            yield ForeignPicture(
                data=self._image_bytes(row[columns.image]),
                label=label,
                origin=f"{split}/{number}",
                concept=concept,
                category=_name(row, columns.category, features),
                caption=_name(row, columns.caption, features),
                group=_name(row, columns.group, features),
                split=split,
            )

    def _open(self, config: str, files: str) -> Mapping[str, "IterableDataset"]:
        from datasets import load_dataset

        try:
            splits: Mapping[str, IterableDataset] = load_dataset(
                str(self._folder), name=config or None, data_files=files or None, streaming=True
            )
        except Exception as error:
            # The library raises whatever its many builders run into, from ValueError to pyarrow's.
            raise self._unreadable(error) from error
        if not splits:
            raise LayoutError(self._source, "holds no table of pictures")
        return splits

    def _first_row_names(self, rows: "IterableDataset") -> list[str]:
        return list(next(self._guarded(rows), {}))

    def _guarded(self, rows: "IterableDataset") -> Iterator[dict[str, Any]]:
        try:
            yield from rows
        except LayoutError:
            raise
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> LayoutError:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return LayoutError(self._source, f"can't be read as a table of pictures ({said})")

    def _image_bytes(self, value: Any) -> bytes:
        """The encoded picture behind a cell; empty where there is none, which no decoder takes."""
        if isinstance(value, Mapping):
            if value.get("bytes"):
                return bytes(value["bytes"])
            return self._file_bytes(value.get("path") or "")
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        if isinstance(value, str):
            if len(value) < _LONGEST_FILE_NAME and (data := self._file_bytes(value)):
                return data
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error:
                return b""
        return b""

    def _file_bytes(self, named: str) -> bytes:
        # A table must not be able to name a file outside its own folder.
        pure = PurePosixPath(named)
        for folder in (self._folder, self._folder.resolve()):
            if pure.is_absolute() and pure.is_relative_to(folder):
                pure = pure.relative_to(folder)
        if not named or pure.is_absolute() or ".." in pure.parts:
            return b""
        path = self._folder / pure
        return path.read_bytes() if path.is_file() else b""


def _name(row: Mapping[str, Any], column: str, features: Mapping[str, Any]) -> str:
    if not column or row[column] is None:
        return ""
    value = row[column]
    names = getattr(features.get(column), "names", None)
    if names and isinstance(value, int) and 0 <= value < len(names):
        return str(names[value])
    return str(value).strip()
