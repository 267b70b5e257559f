"""Where a general benchmark's files come from: a local folder, or the hub.

A hub id is fetched as it lies there (files, not a loading script) into the hub's own cache, so a
set is read by the same code however it came, and a second run needs no network. Tables in Parquet
are read with `datasets`, with pictures left undecoded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.data import hub
from alignment.data.errors import UnknownSourceError
from benchmarks.errors import MeasurementError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_PICTURE_COLUMN = "image"


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that is said to hold the benchmark `title`; `where` is what the user called it."""

    title: str
    where: str
    folder: Path

    def error(self, reason: str) -> MeasurementError:
        """What to raise when the folder is not what it is said to be."""
        return MeasurementError(f"{self.where} is not {self.title}: {reason}")

    def text(self, path: Path) -> str:
        """A text file of the folder; raises `MeasurementError` when it is missing or no text."""
        name = path.relative_to(self.folder)
        try:
            return path.read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise self.error(f"it has no {name}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(f"{name} can't be read as text") from error

    def tables(self, split: str) -> list[Path]:
        """The Parquet files of a split; all there are when none is named after it.

        They lie in the folder or in one of its folders (the hub's ``data``), no deeper.
        """
        found = sorted([*self.folder.glob("*.parquet"), *self.folder.glob("*/*.parquet")])
        return [path for path in found if path.name.startswith(split)] or found

    def rows(self, split: str, columns: Sequence[str]) -> Any:
        """The split's table as a `datasets.Dataset`, its pictures undecoded.

        Raises `MeasurementError` when a column is missing or a file is damaged.
        """
        from datasets import Dataset, Image
        from datasets.exceptions import DatasetsError

        files = self.tables(split)
        try:
            # Before anything is converted: a wrong set may have gigabytes of pictures.
            for path in files:
                self._check_columns(path, columns)
            table = Dataset.from_parquet([str(path) for path in files], columns=list(columns))
            if _PICTURE_COLUMN in columns:
                table = table.cast_column(_PICTURE_COLUMN, Image(decode=False))
        except (DatasetsError, OSError, ValueError, TypeError) as error:
            raise self.error(f"its tables can't be read ({type(error).__name__})") from error
        return table

    def _check_columns(self, path: Path, columns: Sequence[str]) -> None:
        from pyarrow import parquet

        found = parquet.read_schema(path).names
        missing = [column for column in columns if column not in found]
        if missing:
            raise self.error(
                f"{path.name} has no column {', '.join(missing)} (it has {', '.join(found)})"
            )


def find_source(title: str, where: str) -> Source:
    """The folder `where`, or the hub's data set of that id, fetched.

    Raises a `DataError` in one line: no such folder or set, no access, or no network.
    """
    folder = Path(where).expanduser()
    if where and folder.is_dir():
        return Source(title, where, folder)
    if not _HUB_ID.fullmatch(where):
        raise UnknownSourceError(where)
    return Source(title, where, hub.fetch(where).folder)
