"""When a batch's next line may be begun: whoever waits for an answer comes first.

So many lines at once while nobody else asks, a single one while calls run, and none while calls
wait for their turn or no model answers. Batches take turns line by line, so a small one does not
wait for the end of a large one.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

_LOOK_EVERY_S = 0.05


class Load(Protocol):
    """How busy the service is with calls that somebody waits for."""

    @property
    def running(self) -> int:
        """Calls that are worked on."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        ...


class Pace:
    """Lets lines begin, `at_once` at most; used from the event loop's thread alone.

    `is_open` says whether there is a model to ask at all.
    """

    def __init__(self, load: Load, *, is_open: Callable[[], bool], at_once: int) -> None:
        self._load = load
        self._is_open = is_open
        self._at_once = at_once
        self._running = 0
        self._queue: deque[object] = deque()
        self._bell = asyncio.Event()

    @property
    def running(self) -> int:
        """Lines that are being judged."""
        return self._running

    @property
    def is_open(self) -> bool:
        """Whether there is a model to ask."""
        return self._is_open()

    async def turn(self, give_up: Callable[[], bool]) -> bool:
        """Wait until one more line may begin, which must then be `done`; False: given up."""
        ticket = object()
        self._queue.append(ticket)
        try:
            while not give_up():
                if self._queue[0] is ticket and self._may_begin():
                    self._running += 1
                    return True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._bell.wait()
            return False
        finally:
            self._queue.remove(ticket)
            self._ring()

    def done(self) -> None:
        """A line that had a turn has ended."""
        self._running -= 1
        self._ring()

    def _may_begin(self) -> bool:
        if self._load.waiting or not self._is_open():
            return False
        return self._running < (1 if self._load.running else self._at_once)

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()
