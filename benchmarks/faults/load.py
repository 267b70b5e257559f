"""Clients under whom a fault happens, in a closed loop: they wait for their answers."""

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.faults.asking import Asked
from benchmarks.faults.pictures import Labelled

Ask = Callable[[Labelled], Awaitable[Asked]]

_REFUSED_PAUSE_S = 0.25
"""How long a client of the closed loop waits after a refusal; they would fill the log otherwise."""


class ClosedLoop:
    """`clients` that each send the next picture as soon as the last one's answer is there.

    Runs while the context is open; `asked` grows meanwhile. With `leave_when_refused` a client
    that is sent away does not come back (it goes to another replica).
    """

    def __init__(
        self,
        ask: Ask,
        pictures: Callable[[], Labelled],
        *,
        clients: int,
        leave_when_refused: bool = False,
    ) -> None:
        self._ask = ask
        self._pictures = pictures
        self._clients = clients
        self._leave_when_refused = leave_when_refused
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []
        self.asked: list[Asked] = []

    async def __aenter__(self) -> "ClosedLoop":
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Send nothing more and wait for the answers that are due."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        while not self._is_over:
            one = await self._ask(self._pictures())
            self.asked.append(one)
            if one.end != "answered":
                if self._leave_when_refused:
                    return
                await asyncio.sleep(_REFUSED_PAUSE_S)
