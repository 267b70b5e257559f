"""SIGTERM while clients send: what was taken is answered, the rest is sent elsewhere, exit 0.

A client that is refused does not come back, as one that goes to another replica does not. It is
told so by a 503, since the server goes on listening while it drains.
"""

import asyncio
import signal
import time
from dataclasses import asdict

from benchmarks.faults.asking import tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, holds, none_of
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire

NAME, TITLE = "sigterm", "SIGTERM under load"

NOTICE_S = 1.0
"""How long the service is told to go on listening: longer than any answer here takes."""
_EXIT_LIMIT_S = 35.0


async def run(stand: Stand) -> FaultReport:
    """Stop the service under a closed loop; nothing runs on it afterwards."""
    async with Wire(stand.service.url) as wire:
        loop = stand.closed_loop(wire, leave_when_refused=True)
        async with loop:
            await asyncio.sleep(stand.share_s(0.08))
            stand.service.send_signal(signal.SIGTERM)
            sent_s = time.monotonic()
            status = await asyncio.to_thread(stand.service.ended, timeout_s=_EXIT_LIMIT_S)
            exit_s = time.monotonic() - sent_s
    counted = tally(loop.asked)
    after = [one for one in loop.asked if one.at_s + one.latency_ms / 1000 > sent_s]
    finished = sum(one.end == "answered" for one in after)
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            none_of("requests failed or lost", counted.failed + counted.lost + counted.late),
            none_of("unsafe pictures let through", counted.let_through),
            holds("exit status 0", status == 0),
            at_most("ended after", exit_s if status is not None else None, _EXIT_LIMIT_S, "s"),
            at_least("answered", counted.answered, 1),
        ),
        figures={
            "requests": asdict(counted),
            "exit_status": status,
            "exit_s": exit_s,
            "answered_after_signal": finished,
            "refused_after_signal": sum(one.end == "refused" for one in after),
        },
        note=f"ended after {exit_s:.1f} s; {finished} calls finished after the signal",
    )
