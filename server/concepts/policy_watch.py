"""The policies in force: read at the start, and again whenever their files change.

A file that can't be used leaves the policies before it in force; the log names its problems once,
and metrics say so for as long as it lasts. Files are looked at by name, size and time rather than
watched by the system, which tells nothing of network drives or of a mounted configuration that is
swapped by a link.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from server.concepts.policy_book import PolicyBook, TenantPolicy, load_policy_book
from server.errors import DataFileError

_log = structlog.get_logger("server")


class _FileState(NamedTuple):
    modified_ns: int
    size_bytes: int
    inode: int


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What came of reading the files again: a new book, or the problems of a broken one."""

    book: PolicyBook
    problems: tuple[str, ...] = ()

    @property
    def is_broken(self) -> bool:
        """Whether the files can't be used, and `book` is the one before them."""
        return bool(self.problems)


ChangeListener = Callable[[PolicyChange], None]


class LivePolicies:
    """The policies of the file at `path`, or the shipped one. Used from one event loop.

    Raises `DataFileError` when the file can't be used at the start.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._listeners: list[ChangeListener] = []
        self.book = load_policy_book(path)
        self._seen = self._state()
        self._problems: tuple[str, ...] = ()

    def listen(self, listener: ChangeListener) -> None:
        """Have `listener` called after every change, good or bad."""
        self._listeners.append(listener)

    def of(self, tenant: str) -> TenantPolicy:
        """The tenant's policy now. Take it once a call: the next may be another."""
        return self.book.of(tenant)

    async def watch(self, *, every_s: float) -> None:
        """Look at the files every so often, until cancelled."""
        while self._path is not None:
            await asyncio.sleep(every_s)
            await self.refresh()

    async def refresh(self) -> bool:
        """Read the files again if they changed or are broken; whether new policies are in force."""
        state = await asyncio.to_thread(self._state)
        if self._path is None or (state == self._seen and not self._problems):
            return False
        self._seen = state
        try:
            book = await asyncio.to_thread(load_policy_book, self._path)
        except DataFileError as error:
            self._note_broken(error)
            return False
        had_problems, self._problems = bool(self._problems), ()
        is_new = _versions(book) != _versions(self.book)
        self.book = book
        # What was written while the files were read must still look new.
        self._seen = await asyncio.to_thread(self._state) | {
            path: seen for path, seen in state.items() if path in book.files
        }
        if is_new or had_problems:
            _log.info("policy in force", policy_version=book.default.version)
            self._tell(PolicyChange(book))
        return is_new

    def _note_broken(self, error: DataFileError) -> None:
        problems = tuple(f"{error.path}: {problem}" for problem in error.problems)
        if problems == self._problems:
            return
        self._problems = problems
        _log.error(
            "policy file unusable, the policy before it stays in force",
            problems=problems,
            policy_version=self.book.default.version,
        )
        self._tell(PolicyChange(self.book, problems))

    def _tell(self, change: PolicyChange) -> None:
        for listener in self._listeners:
            listener(change)

    def _state(self) -> dict[Path, _FileState | None]:
        return {path: _file_state(path) for path in self.book.files}


def _file_state(path: Path) -> _FileState | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _FileState(found.st_mtime_ns, found.st_size, found.st_ino)


def _versions(book: PolicyBook) -> dict[str, str]:
    return {one.tenant: one.version for one in book.every}
