"""The keys that are valid now: those of the environment, and those of a file that may change."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from server.api.keys import ANYONE, KeyEntry, KeyHolder, matching_key, read_key_file
from server.errors import DataFileError

LOOK_AGAIN_S = 1.0
"""How long a key that was taken out of the file may still be let in."""

_log = structlog.get_logger("server")


class _FileState(NamedTuple):
    """What changes when a file is written or another takes its place."""

    modified_ns: int
    size_bytes: int
    inode: int


class KeyRing:
    """Finds who a key belongs to. Keys are added and withdrawn by writing the file.

    The file is looked at when a key is asked about, at most every `LOOK_AGAIN_S`, and read when it
    changed. One that can't be read any more leaves the keys as they were, and the log says so.
    Raises `DataFileError` when it can't be read at the start. `clock_s` is monotonic.
    """

    def __init__(
        self,
        entries: Sequence[KeyEntry] = (),
        file: Path | None = None,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = tuple(entries)
        self._file = file
        self._clock_s = clock_s
        self._seen = None if file is None else _state(file)
        self._from_file = () if file is None else read_key_file(file)
        self._looked_at_s = clock_s()

    @property
    def is_open(self) -> bool:
        """Whether no keys were configured, so that everyone is let in.

        A file that was emptied locks everyone out: it was meant to hold keys.
        """
        return not self._own and self._file is None

    def holder(self, key: str | None) -> KeyHolder | None:
        """Who `key` belongs to; None for a missing or unknown one."""
        if self.is_open:
            return ANYONE
        self._look_again()
        if key is None:
            return None
        entry = matching_key(key, (*self._own, *self._from_file))
        return None if entry is None else entry.holder

    def _look_again(self) -> None:
        if self._file is None or self._clock_s() - self._looked_at_s < LOOK_AGAIN_S:
            return
        self._looked_at_s = self._clock_s()
        state = _state(self._file)
        if state == self._seen:
            return
        self._seen = state
        try:
            self._from_file = read_key_file(self._file)
        except DataFileError as error:
            _log.error("key file unusable, the keys before it stay", problems=error.problems)
            return
        _log.info("keys read", keys=[entry.id for entry in self._from_file])


def _state(path: Path) -> _FileState | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _FileState(found.st_mtime_ns, found.st_size, found.st_ino)
