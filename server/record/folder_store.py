"""The audit log as files of JSON lines: appended to, never changed, begun anew by day and size.

A file is named by when it was begun (``audit-20260131T120000Z-<process>.jsonl``), so several
processes can write into one folder. A batch of entries is one write; one that fails half-way (the
disk is full) is taken back, so no line is ever half there. A process that dies may leave a last
line without an end, which readers pass over and count.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from server.concepts.actions import Action
from server.errors import AuditLogError
from server.record.entries import (
    ENTRY,
    ComparisonEntry,
    DecisionEntry,
    Entry,
    Review,
    RolloutEntry,
    VerdictEntry,
    now_unix_ms,
)
from server.record.query import ModelQuery, ReviewQuery, VerdictQuery

PREFIX, SUFFIX = "audit-", ".jsonl"
_DAY_CHARS = 8

_log = structlog.get_logger("server")


class FolderStore:
    """An `AuditStore` in a folder, which is made if need be.

    Reviews are found by reading the files: for a queue of many thousands, or one that several
    servers share, a database is quicker. Raises `AuditLogError` when nothing can be written there.
    """

    def __init__(self, folder: Path, *, max_file_bytes: int) -> None:
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._file: int | None = None
        self._path: Path | None = None
        self._size_bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AuditLogError(f"{folder}: {error.strerror}") from error

    def append(self, entries: Sequence[Entry]) -> None:
        """Write all entries at once; raises `AuditLogError` with nothing written."""
        lines = b"".join(entry.model_dump_json().encode() + b"\n" for entry in entries)
        try:
            file = self._open_file(len(lines))
            self._write(file, lines)
        except OSError as error:
            raise AuditLogError(f"{self._path or self._folder}: {error.strerror}") from error

    def _write(self, file: int, lines: bytes) -> None:
        began = self._size_bytes
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            os.ftruncate(file, began)
            raise
        self._size_bytes = began + len(lines)

    def _open_file(self, coming_bytes: int) -> int:
        """The file to append to: this day's, with room, and still there."""
        now = datetime.now(UTC)
        if self._file is not None and self._path is not None:
            is_today = self._path.name[len(PREFIX) :][:_DAY_CHARS] == now.strftime("%Y%m%d")
            has_room = self._size_bytes == 0 or (
                self._size_bytes + coming_bytes <= self._max_file_bytes
            )
            if is_today and has_room and self._path.exists():
                return self._file
            self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = now.strftime("%Y%m%dT%H%M%S.%fZ")
        self._path = self._folder / f"{PREFIX}{stamp}-{os.getpid()}{SUFFIX}"
        # Readable by its owner alone: who asked for what is nobody else's.
        self._file = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._size_bytes = os.fstat(self._file).st_size
        return self._file

    def verdicts(self, query: VerdictQuery) -> Iterator[VerdictEntry]:
        """The verdicts that are asked for, file by file."""
        for path in self._files():
            if query.since_ms is not None and _modified_ms(path) < query.since_ms:
                continue
            for entry in _entries(path):
                if isinstance(entry, VerdictEntry) and query.takes(entry):
                    yield entry

    def reviews(self, query: ReviewQuery) -> list[Review]:
        """The reviews that are asked for; all files are read."""
        verdicts: dict[str, VerdictEntry] = {}
        decisions: dict[str, DecisionEntry] = {}
        for path in self._files():
            for entry in _entries(path, containing=_OF_REVIEWS):
                if isinstance(entry, DecisionEntry):
                    decisions[entry.verdict_id] = entry
                elif isinstance(entry, VerdictEntry) and entry.needs_review:
                    verdicts[entry.id] = entry
        found = (
            Review(verdict=verdict, decision=decisions.get(verdict_id))
            for verdict_id, verdict in sorted(verdicts.items())
        )
        return [review for review in found if query.takes(review)][: query.limit]

    def review(self, verdict_id: str) -> Review | None:
        """The review of one verdict; all files are read."""
        every = self.reviews(ReviewQuery(status="any", limit=2**62))
        return next((one for one in every if one.verdict.id == verdict_id), None)

    def about_models(self, query: ModelQuery) -> Iterator[ComparisonEntry | RolloutEntry]:
        """The entries about models that are asked for, file by file."""
        mark = f'"kind":"{query.kind}"'.encode()
        for path in self._files():
            if query.since_ms is not None and _modified_ms(path) < query.since_ms:
                continue
            for entry in _entries(path, containing=(mark,)):
                if isinstance(entry, ComparisonEntry | RolloutEntry) and query.takes(entry):
                    yield entry

    def prune(self, before_unix_ms: int) -> int:
        """Delete the files that were last written to before then."""
        removed = 0
        for path in self._files():
            if path != self._path and _modified_ms(path) < before_unix_ms:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise AuditLogError(f"{path}: {error.strerror}") from error
                removed += 1
        return removed

    def close(self) -> None:
        """Close the file; the next entry begins another."""
        if self._file is not None:
            os.close(self._file)
        self._file = self._path = None
        self._size_bytes = 0

    def _files(self) -> list[Path]:
        try:
            return sorted(self._folder.glob(f"{PREFIX}*{SUFFIX}"))
        except OSError as error:
            raise AuditLogError(f"{self._folder}: {error.strerror}") from error


_OF_REVIEWS = (f'"action":"{Action.REVIEW}"'.encode(), b'"kind":"decision"')


def _entries(path: Path, *, containing: tuple[bytes, ...] = ()) -> Iterator[Entry]:
    """The entries of a file, those alone that hold any of `containing`, if it names some."""
    unreadable = 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                if containing and not any(mark in line for mark in containing):
                    continue
                try:
                    yield ENTRY.validate_json(line)
                except ValidationError:
                    unreadable += 1
    except FileNotFoundError:
        return  # grew too old while the others were read
    except OSError as error:
        raise AuditLogError(f"{path}: {error.strerror}") from error
    if unreadable:
        _log.warning("audit log has unreadable lines", file=path.name, lines=unreadable)


def _modified_ms(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return now_unix_ms()
