"""Clients that send their bodies drop by drop, and clients that don't read their answers: the rest
must not notice, and who is too slow is told so by a 408.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass

from benchmarks.faults.asking import PATH, Tally, tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, none_of
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import LostError, Wire, read_reply, request_head

NAME, TITLE = "slow-clients", "slow senders and readers"

BODY_TIMEOUT_S = 4.0
"""What the service is told to give a body; short, so that a run sees it happen."""
_SENDERS = 24
_READERS = 24
_DROP_BYTES = 64
_DROP_EVERY_S = 0.25
_THROUGHPUT_GOAL = 0.9
_LATENCY_GOAL = 1.5


@dataclass(frozen=True, slots=True)
class _Slow:
    """How one slow sender ended."""

    status: int | None
    seconds: float


async def run(stand: Stand) -> FaultReport:
    """Others' latency and throughput, without slow clients and with them."""
    seconds = max(stand.share_s(0.2), 2 * BODY_TIMEOUT_S)
    async with Wire(stand.service.url) as wire:
        before = await _measured(stand, wire, seconds)
        async with contextlib.AsyncExitStack() as stack:
            slow = [
                asyncio.create_task(_send_slowly(stand, seconds + 60.0)) for _ in range(_SENDERS)
            ]
            for _ in range(_READERS):
                await stack.enter_async_context(_reader_that_does_not_read(stand))
            meanwhile = await _measured(stand, wire, seconds)
            ended = await asyncio.gather(*slow)
    cut_off = sum(one.status == 408 for one in ended)
    slowdown = (
        meanwhile.answer_ms.p90 / before.answer_ms.p90
        if before.answer_ms and meanwhile.answer_ms
        else None
    )
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            at_least(
                "others' throughput / without",
                meanwhile.answered / before.answered if before.answered else None,
                _THROUGHPUT_GOAL,
            ),
            at_most("others' p90 / without", slowdown, _LATENCY_GOAL),
            at_least(f"of {_SENDERS} slow senders told 408", cut_off, _SENDERS),
            none_of("others' requests failed or lost", meanwhile.failed + meanwhile.lost),
            none_of("unsafe pictures let through", meanwhile.let_through),
        ),
        figures={
            "before": asdict(before),
            "meanwhile": asdict(meanwhile),
            "slow": [asdict(one) for one in ended],
        },
        note=f"{_SENDERS} senders of {_DROP_BYTES / _DROP_EVERY_S:.0f} bytes/s, "
        f"{_READERS} that don't read; cut off after {max(one.seconds for one in ended):.1f} s",
    )


async def _measured(stand: Stand, wire: Wire, seconds: float) -> Tally:
    loop = stand.closed_loop(wire, clients=max(1, stand.config.clients // 2))
    async with loop:
        await asyncio.sleep(seconds)
    return tally(loop.asked)


async def _send_slowly(stand: Stand, limit_s: float) -> _Slow:
    """Send a body drop by drop until the server answers or breaks off."""
    body = stand.drawings.next().body
    began_s = time.monotonic()
    address = Wire(stand.service.url).address
    reader, writer = await asyncio.open_connection(*address)
    answer = asyncio.create_task(read_reply(reader, time.perf_counter()))
    try:
        async with asyncio.timeout(limit_s):
            writer.write(request_head("POST", PATH, len(body), {}))
            for at in range(0, len(body), _DROP_BYTES):
                if answer.done() or writer.is_closing():
                    break
                writer.write(body[at : at + _DROP_BYTES])
                await asyncio.sleep(_DROP_EVERY_S)
            status: int | None = (await answer).status
    except (OSError, EOFError, ValueError, LostError, TimeoutError):
        status = None
    finally:
        answer.cancel()
        writer.close()
    return _Slow(status, time.monotonic() - began_s)


@contextlib.asynccontextmanager
async def _reader_that_does_not_read(stand: Stand) -> AsyncGenerator[None]:
    """Ask for a long answer again and again on one connection and never read one."""
    _, writer = await asyncio.open_connection(*Wire(stand.service.url).address)
    if isinstance(writer.transport, asyncio.ReadTransport):
        writer.transport.pause_reading()
    writer.write(request_head("GET", "/metrics", 0, {}) * 3)
    try:
        yield
    finally:
        writer.transport.abort()
