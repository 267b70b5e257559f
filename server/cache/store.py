"""The seam between the cache and where it keeps what it remembers."""

from typing import Protocol


class ScoreStore(Protocol):
    """Keeps payloads by key for a while. `close` it when done.

    A store may forget anything at any time. One that can't be reached raises
    `CacheUnavailableError`, and whoever asked goes on without it.
    """

    async def get(self, key: str) -> bytes | None:
        """What was put under `key`; None if it was forgotten, or never put."""
        ...

    async def put(self, key: str, payload: bytes) -> None:
        """Keep `payload` under `key`, in the place of what was there."""
        ...

    async def close(self) -> None:
        """Release what it holds; may be called twice."""
        ...
