"""Clients that leave before their answers: the engine's time is given to those who stayed."""

import asyncio
from dataclasses import asdict

from benchmarks.faults.asking import PATH, tally
from benchmarks.faults.goals import FaultReport, at_least, none_of
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire, request_head

NAME, TITLE = "clients-leaving", "clients that leave before their answers"

_STAY_S = 0.05
_LEAVERS = 16
_PAUSE_S = 0.45
"""Between two calls of one leaver: together they ask for more than the service can judge."""
_THROUGHPUT_GOAL = 0.5
"""What is read and decoded of a picture before its sender leaves is lost; its judging is not."""


async def run(stand: Stand) -> FaultReport:
    """Others' throughput with as many clients coming and going beside them."""
    seconds = stand.share_s(0.12)
    async with Wire(stand.service.url) as wire:
        loop = stand.closed_loop(wire)
        async with loop:
            await asyncio.sleep(seconds)
        before = tally(loop.asked)
        loop = stand.closed_loop(wire)
        async with loop:
            left = await _come_and_go(stand, seconds)
        meanwhile = tally(loop.asked)
        scrape = await stand.service.metrics()
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            at_least(
                "others' throughput / without",
                meanwhile.answered / before.answered if before.answered else None,
                _THROUGHPUT_GOAL,
            ),
            none_of("others' requests failed or lost", meanwhile.failed + meanwhile.lost),
            none_of("unsafe pictures let through", meanwhile.let_through),
            none_of("calls still running afterwards", int(scrape.total("sightward_calls_running"))),
        ),
        figures={"before": asdict(before), "meanwhile": asdict(meanwhile), "left": left},
        note=f"{left} calls left after {_STAY_S * 1000:.0f} ms",
    )


async def _come_and_go(stand: Stand, seconds: float) -> int:
    """How many left."""
    address = Wire(stand.service.url).address
    left = 0

    async def client() -> None:
        nonlocal left
        while True:
            body = stand.drawings.next().body
            _, writer = await asyncio.open_connection(*address)
            writer.write(request_head("POST", PATH, len(body), {}) + body)
            await asyncio.sleep(_STAY_S)
            writer.transport.abort()
            left += 1
            await asyncio.sleep(_PAUSE_S)

    clients = [asyncio.create_task(client()) for _ in range(_LEAVERS)]
    await asyncio.sleep(seconds)
    for one in clients:
        one.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return left
