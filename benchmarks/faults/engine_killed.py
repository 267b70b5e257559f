"""vLLM's engine process is killed while clients send: seen, refused, restarted, none let through.

What was being asked ends with a 503 that says when to come back, and is no loss; a connection that
breaks off, or any other error, is.
"""

import asyncio
import os
import signal
import time
from dataclasses import asdict, dataclass

from benchmarks.errors import MeasurementError
from benchmarks.faults.asking import Asked, tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, none_of
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire
from benchmarks.stats import percentiles

NAME, TITLE = "engine-killed", "engine killed (kill -9) under load"

_SEEN_LIMIT_S = 1.0
_READY_LIMIT_S = 90.0
_POLL_S = 0.05
_GIVE_UP_S = 180.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: when the service said so (to a client or by a metric), and answered again."""

    seen_s: float
    ready_s: float


async def run(stand: Stand) -> FaultReport:
    """Kill the engine again and again under a closed loop."""
    kills: list[Kill] = []
    async with Wire(stand.service.url) as wire:
        async with stand.closed_loop(wire) as loop:
            for _ in range(stand.config.kills):
                await asyncio.sleep(stand.share_s(0.06))
                kills.append(await _kill(stand, loop.asked))
            await asyncio.sleep(stand.share_s(0.03))
        counted = tally(loop.asked)
    seen, ready = (
        percentiles([one.seen_s for one in kills]),
        percentiles([one.ready_s for one in kills]),
    )
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            at_most(
                "seen after, slowest", None if seen is None else seen.maximum, _SEEN_LIMIT_S, "s"
            ),
            at_most(
                "answers again after, p90",
                None if ready is None else ready.p90,
                _READY_LIMIT_S,
                "s",
            ),
            none_of("requests lost", counted.lost + counted.failed),
            none_of("unsafe pictures let through", counted.let_through),
            at_least("answered", counted.answered, 1),
        ),
        figures={
            "kills": [asdict(one) for one in kills],
            "seen_s": seen and asdict(seen),
            "ready_s": ready and asdict(ready),
            "requests": asdict(counted),
        },
        note="" if ready is None else f"answers again after p50 {ready.p50:.1f} s",
    )


async def _kill(stand: Stand, asked: list[Asked]) -> Kill:
    """Kill the engine and wait for the next answer; raises `MeasurementError` if none comes."""
    os.kill(stand.service.engine_pid(), signal.SIGKILL)
    killed_s = time.monotonic()
    before = len(asked)
    seen_s: float | None = None
    async with Wire(stand.service.url) as probe:
        while time.monotonic() - killed_s < _GIVE_UP_S:
            told_s = [one.at_s + one.latency_ms / 1000 for one in asked[before:] if _is_told(one)]
            if seen_s is None and (told_s or await _is_seen(probe)):
                seen_s = min([*told_s, time.monotonic()]) - killed_s
            recovered = [
                one
                for one in asked[before:]
                if one.end == "answered" and seen_s is not None and one.at_s > killed_s + seen_s
            ]
            if seen_s is not None and recovered:
                first = min(one.at_s + one.latency_ms / 1000 for one in recovered)
                return Kill(seen_s, first - killed_s)
            await asyncio.sleep(_POLL_S)
    raise MeasurementError("the service did not recover from its engine's death")


def _is_told(one: Asked) -> bool:
    return one.end == "refused"


async def _is_seen(probe: Wire) -> bool:
    # The phase, not /readyz: that asks the engine, and would find the death for the service.
    phase = (await probe.request("GET", "/metrics")).body.decode()
    return 'sightward_phase{phase="ready"} 0.0' in phase
