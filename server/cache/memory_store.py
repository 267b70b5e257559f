"""A store in this process: as many bytes as it may take, the longest unused forgotten first."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_ENTRY_OVERHEAD_BYTES = 400
"""What Python keeps around a payload: the entry, its key and the table's share, rounded up."""


@dataclass(frozen=True, slots=True)
class _Entry:
    payload: bytes
    until_s: float


class MemoryStore:
    """A `ScoreStore` of at most `max_bytes`, each payload for `ttl_s` seconds.

    `clock` counts seconds and never goes back, so that setting the machine's clock changes nothing.
    """

    def __init__(
        self, *, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> bytes | None:
        """The payload; None once it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until_s <= self._clock():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return entry.payload

    async def put(self, key: str, payload: bytes) -> None:
        """Keep the payload, unless it alone is more than there is room for."""
        self._forget(key)
        if _size_bytes(payload) > self._max_bytes:
            return
        while self.used_bytes + _size_bytes(payload) > self._max_bytes:
            self._forget(next(iter(self._entries)))
        self._entries[key] = _Entry(payload, self._clock() + self._ttl_s)
        self.used_bytes += _size_bytes(payload)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.used_bytes = 0

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used_bytes -= _size_bytes(entry.payload)


def _size_bytes(payload: bytes) -> int:
    return len(payload) + _ENTRY_OVERHEAD_BYTES
