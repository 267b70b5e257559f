"""Where rows go: a CSV or JSON lines file, or standard output; each as soon as it is there.

A file is taken up again on request: what was judged stays, what was not is judged again, and a last
line that was cut off by a kill is dropped.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from server.moderate.errors import ModerateError
from server.moderate.rows import COLUMNS, UNDETERMINED, FileRow

_SUFFIXES = (".csv", ".jsonl")


class RowWriter:
    """Writes rows; a context manager. `path` None is standard output, as JSON lines.

    With `is_resumed` a file that is there already is gone on with; `kept` are the rows in it that
    stay. Raises `ModerateError`.
    """

    def __init__(self, path: Path | None, stdout: IO[str], *, is_resumed: bool) -> None:
        self.kept: list[FileRow] = []
        self._path = path
        self._stdout = stdout
        self._is_resumed = is_resumed
        self._is_csv = path is not None and path.suffix.lower() == ".csv"
        self._file: IO[str] = stdout
        if path is not None and path.suffix.lower() not in _SUFFIXES:
            raise ModerateError(f"{path}: results are written to .csv or .jsonl files")
        if path is None and is_resumed:
            raise ModerateError("--resume needs --out, the file to go on with")

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        if self._path.exists() and not self._is_resumed:
            raise ModerateError(
                f"{self._path} exists; add --resume to go on with it, or name another file"
            )
        try:
            self._begin(self._path)
        except OSError as error:
            raise ModerateError(f"{self._path}: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._path is not None:
            self._file.close()

    def write(self, row: FileRow) -> None:
        """Write a row, and hand it to the system; raises `ModerateError`."""
        try:
            self._file.write(self._line(row))
            self._file.flush()
        except OSError as error:
            raise ModerateError(f"{self._path or 'standard output'}: {error.strerror}") from error

    def _begin(self, path: Path) -> None:
        if path.exists():
            self.kept = [row for row in _rows_in(path) if row.is_judged]
        # Written anew, so that what was not judged does not stand there twice.
        draft = path.with_name(f".{path.name}.new")
        with draft.open("w", encoding="utf-8", newline="") as file:
            if self._is_csv:
                file.write(_csv_line(COLUMNS))
            for row in self.kept:
                file.write(self._line(row))
        draft.replace(path)
        self._file = path.open("a", encoding="utf-8", newline="")

    def _line(self, row: FileRow) -> str:
        record = row.record()
        if self._is_csv:
            return _csv_line(["" if value is None else value for value in record.values()])
        return json.dumps(record, ensure_ascii=False) + "\n"


def _csv_line(values: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _rows_in(path: Path) -> Iterator[FileRow]:
    """The whole rows of a file of ours; raises `ModerateError` for any other."""
    text = path.read_text(encoding="utf-8")
    text = text[: text.rfind("\n") + 1]
    try:
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(io.StringIO(text, newline=""))
            for found in reader:
                yield _from_csv(found)
        else:
            for line in text.splitlines():
                yield FileRow(**json.loads(line))
    except (ValueError, TypeError, KeyError) as error:
        raise ModerateError(f"{path}: it is not a file that this command wrote") from error


def _from_csv(found: dict[str, str]) -> FileRow:
    values: dict[str, Any] = {name: found[name] or None for name in COLUMNS}
    if None in found or any(found[name] is None for name in COLUMNS):
        raise ValueError("another number of columns")
    if values["p_unsafe"] is not None:
        values["p_unsafe"] = float(values["p_unsafe"])
    if values["flagged"] is not None:
        values["flagged"] = values["flagged"] == "True"
    values["outcome"] = values["outcome"] or UNDETERMINED
    return FileRow(**values)
