"""Clients of an HTTP peer: a closed loop over a turn's pictures, by a client that costs little."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.errors import MeasurementError
from benchmarks.load.wire import Wire
from benchmarks.peers.asking import Request
from benchmarks.peers.contender import Ran, Turn

Requests = Callable[[bytes], list[Request]]


def ask_over_http(url: str, requests: Requests, turn: Turn, *, wanted_status: int = 200) -> Ran:
    """Ask about every picture of the turn, `at_once` of them at a time.

    A picture's requests are sent together and it is done when the last is answered. Raises
    `MeasurementError` for an answer of another status: what is refused is answered fast.
    """
    return asyncio.run(_ask(url, [requests(data) for data in turn.files], turn, wanted_status))


async def _ask(url: str, asked: Sequence[list[Request]], turn: Turn, wanted_status: int) -> Ran:
    latencies_ms: list[float] = []
    waiting: Iterator[list[Request]] = iter(asked)

    async with Wire(url) as wire:

        async def send(request: Request) -> None:
            path, body = request
            reply = await wire.request("POST", path, body)
            if reply.status != wanted_status:
                raise MeasurementError(f"{path} answered {reply.status}: {reply.body[:300]!r}")

        async def client() -> None:
            for requests in waiting:
                began_s = time.perf_counter()
                if len(requests) == 1:
                    await send(requests[0])
                else:
                    await asyncio.gather(*map(send, requests))
                latencies_ms.append((time.perf_counter() - began_s) * 1000)

        cpu_began_s, began_s = time.process_time(), time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(turn.at_once):
                    group.create_task(client())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        seconds = time.perf_counter() - began_s
    return Ran(seconds, tuple(latencies_ms), time.process_time() - cpu_began_s)
