"""Clients under whom a fault happens: a closed loop, whose clients wait for their answers, and an
open one, which sends when its time has come, however the server is doing.

Only an open loop can overload a server. Its latencies count from when a request was due, so that a
generator that falls behind shows and does not flatter.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from benchmarks.faults.asking import Asked
from benchmarks.faults.pictures import Labelled

Ask = Callable[[Labelled], Awaitable[Asked]]
AskWhenDue = Callable[[Labelled, float], Awaitable[Asked]]

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

    async def all_left(self, *, timeout_s: float) -> None:
        """Wait until every client has left; raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*(asyncio.shield(task) for task in self._tasks))

    async def _client(self) -> None:
        while not self._is_over:
            one = await self._ask(self._pictures())
            self.asked.append(one)
            if one.end != "answered":
                if self._leave_when_refused:
                    return
                await asyncio.sleep(_REFUSED_PAUSE_S)


def poisson_arrivals_s(rate_per_s: float, seconds: float, *, seed: int) -> list[float]:
    """When requests are due, counted from the start: independent of each other and of answers."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1.0 / rate_per_s, size=int(rate_per_s * seconds * 1.5) + 16)
    times = np.cumsum(gaps)
    return [float(one) for one in times[times < seconds]]


async def open_loop(
    ask: AskWhenDue, pictures: Sequence[Labelled], arrivals_s: Sequence[float]
) -> list[Asked]:
    """Send each picture at its time, and wait for all ends; in the order of the arrivals."""
    began_s = time.monotonic()
    tasks = []
    for picture, arrival_s in zip(pictures, arrivals_s, strict=True):
        due_s = began_s + arrival_s
        delay_s = due_s - time.monotonic()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        tasks.append(asyncio.create_task(_due(ask, picture, due_s)))
    return list(await asyncio.gather(*tasks))


async def _due(ask: AskWhenDue, picture: Labelled, due_s: float) -> Asked:
    return await ask(picture, due_s)
