"""The same thing asked twice at the same time is done once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(slots=True)
class _Flight(Generic[Result]):
    task: "asyncio.Task[Result]"
    waiters: int = 0


@dataclass(frozen=True, slots=True)
class Landed(Generic[Result]):
    """A result, and whether it was someone else's work that brought it."""

    result: Result
    was_joined: bool


class InFlight(Generic[Result]):
    """Work by key, in which whoever asks for the same key meanwhile takes part.

    The work is no one waiter's: one who leaves takes nothing from the others, and with the last of
    them the work is given up. A failure is everyone's.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[Result]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def do(self, key: str, work: Callable[[], Awaitable[Result]]) -> Landed[Result]:
        """The result of the work that runs under `key`, or else of `work`; raises what it does."""
        flight = self._flights.get(key)
        was_joined = flight is not None
        if flight is None:
            flight = self._begin(key, work)
        flight.waiters += 1
        try:
            return Landed(await asyncio.shield(flight.task), was_joined)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.task.done():
                flight.task.cancel()
                # Who asks from now on must not join work that is being given up.
                self._end(key, flight)

    def _begin(self, key: str, work: Callable[[], Awaitable[Result]]) -> _Flight[Result]:
        async def run() -> Result:
            return await work()

        flight = _Flight(asyncio.create_task(run(), name=f"in-flight-{key[:12]}"))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda _: self._end(key, flight))
        return flight

    def _end(self, key: str, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
