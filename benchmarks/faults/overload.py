"""Four times as many requests as can be served: as much is served as before, the rest is told at
once, and memory stays as it is.

Capacity comes first, from clients that wait for their answers. Then requests come at random times
(Poisson), however the server is doing. Each names a deadline: an answer that comes later counts as
none. What the client and the machine cost is measured in the same minutes, by the same client, on
an endpoint that does nothing; capacity too is measured with that many requests going there.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.faults.asking import Asked, Tally, ask, tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, none_of
from benchmarks.faults.load import ClosedLoop
from benchmarks.faults.memory import MemoryWatch, memory_course
from benchmarks.faults.pictures import Labelled
from benchmarks.faults.stand import Stand
from benchmarks.load.no_op import NoOpEndpoint
from benchmarks.load.open_loop import open_loop, poisson_arrivals_s
from benchmarks.load.wire import Wire
from benchmarks.stats import Percentiles, percentiles

NAME, TITLE = "overload", "4x overload, open loop"

_GOODPUT_GOAL = 0.95
_REFUSAL_GOAL_MS = 10.0
_MEMORY_GOAL_MIB_PER_MIN = 40.0
_NOOP_SHARE = 0.1
_SETTLE_S = 1.0
_WAITED_MS = 1_000.0
"""A refusal that took longer was not made at the door: the call had waited, in vain."""
_REFUSED_STATUSES = (429, 503)


async def run(stand: Stand) -> FaultReport:
    """Measure capacity, then overload it."""
    config = stand.config
    with NoOpEndpoint() as no_op:
        capacity = await _capacity(stand, no_op.url)
        capacity_per_s = capacity.beside_per_s
        arrivals_s = poisson_arrivals_s(
            config.overload * capacity.alone_per_s, config.seconds, seed=config.seed
        )
        pictures = await asyncio.to_thread(stand.drawings.stock, len(arrivals_s))
        log_began = stand.service.log_bytes()
        async with MemoryWatch(stand.service.pid) as memory:
            began_s = time.monotonic()
            asked, noop_ms = await _send(stand, pictures, arrivals_s, no_op.url)
    counted = tally(asked)
    goodput_per_s = in_time_per_s(asked, began_s, config.seconds)
    share = goodput_per_s / capacity_per_s if capacity_per_s else None
    course = memory_course([one for one in memory.samples if one.at_s < began_s + config.seconds])
    # Caches and the key-value cache fill up first, and are bounded; growth shows after that.
    later = memory_course(
        [one for one in memory.samples if 0.5 <= (one.at_s - began_s) / config.seconds < 1.0]
    )
    own_ms = _own_refusal_ms(stand, log_began)
    refusal_ms = counted.refusal_ms
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            at_least("goodput / capacity", share, _GOODPUT_GOAL),
            at_most(
                "refusals p99",
                None if refusal_ms is None else refusal_ms.p99,
                _REFUSAL_GOAL_MS,
                "ms",
            ),
            at_most(
                "memory growth, second half",
                None if later is None else later.slope_mib_per_min,
                _MEMORY_GOAL_MIB_PER_MIN,
                "MiB/min",
            ),
            none_of("requests failed or lost", counted.failed + counted.lost),
            none_of("unsafe pictures let through", counted.let_through),
        ),
        figures={
            "capacity_per_s": capacity_per_s,
            "capacity_without_generator_per_s": capacity.alone_per_s,
            "offered_per_s": len(arrivals_s) / config.seconds,
            "goodput_per_s": goodput_per_s,
            "goodput_share": share,
            "refused_after_waiting": sum(
                one.end == "refused" and one.latency_ms > _WAITED_MS for one in asked
            ),
            "requests": asdict(counted),
            "refusal_ms_in_server": own_ms and asdict(own_ms),
            "noop_ms": noop_ms and asdict(noop_ms),
            "memory_mib": course and asdict(course) | {"range_mib": course.range_mib},
            "memory_second_half_mib": later and asdict(later) | {"range_mib": later.range_mib},
        },
        note=_note(counted, own_ms, noop_ms, capacity_per_s, goodput_per_s),
    )


def in_time_per_s(asked: Sequence[Asked], began_s: float, seconds: float) -> float:
    """Answers a second that came within the run and within their deadlines."""
    ends_s = began_s + seconds
    return (
        sum(one.end == "answered" and one.at_s + one.latency_ms / 1000 <= ends_s for one in asked)
        / seconds
    )


@dataclass(frozen=True, slots=True)
class _Capacity:
    """Answers a second in a closed loop: alone, and with the generator running beside it."""

    alone_per_s: float
    beside_per_s: float


async def _capacity(stand: Stand, noop_url: str) -> _Capacity:
    """Where client and service share cores, the generator itself takes some of the capacity.

    So it is measured with as many requests as the overload's going to the endpoint that does
    nothing: what is compared then differs in what the service has to refuse, and in nothing else.
    """
    async with Wire(stand.service.url) as wire, Wire(noop_url) as noop:

        async def ask_noop(picture: Labelled, due_s: float) -> Asked:
            return await ask(noop, picture, due_s=due_s)

        loop = stand.closed_loop(wire)
        async with loop:
            await asyncio.sleep(stand.share_s(0.1))
            alone_per_s = await _rate_per_s(loop, stand.share_s(0.1))
        seconds = stand.share_s(0.25)
        arrivals_s = poisson_arrivals_s(
            stand.config.overload * alone_per_s, seconds, seed=stand.config.seed + 2
        )
        pictures = await asyncio.to_thread(stand.drawings.stock, len(arrivals_s))
        loop = stand.closed_loop(wire)
        async with loop:
            await asyncio.sleep(_SETTLE_S)
            generator = asyncio.create_task(open_loop(ask_noop, pictures, arrivals_s))
            beside_per_s = await _rate_per_s(loop, seconds)
            await generator
    return _Capacity(alone_per_s, beside_per_s)


async def _rate_per_s(loop: ClosedLoop, seconds: float) -> float:
    """Answers a second that a loop gets from now on."""
    began, began_s = len(loop.asked), time.monotonic()
    await asyncio.sleep(seconds)
    answered = sum(one.end == "answered" for one in loop.asked[began:])
    return answered / (time.monotonic() - began_s)


@dataclass(frozen=True, slots=True)
class _Sent:
    asked: list[Asked]
    noop_ms: Percentiles | None

    def __iter__(self) -> Any:
        return iter((self.asked, self.noop_ms))


async def _send(
    stand: Stand, pictures: Sequence[Labelled], arrivals_s: Sequence[float], noop_url: str
) -> _Sent:
    headers: Mapping[str, str] = {"x-request-timeout": f"{stand.config.deadline_s:g}"}
    # A share of the rate for the endpoint that does nothing, on pictures that were made anyway.
    noop_arrivals_s = poisson_arrivals_s(
        _NOOP_SHARE * len(arrivals_s) / stand.config.seconds,
        stand.config.seconds,
        seed=stand.config.seed + 1,
    )[: len(pictures)]
    async with Wire(stand.service.url) as wire, Wire(noop_url) as noop:

        async def ask_service(picture: Labelled, due_s: float) -> Asked:
            return await ask(wire, picture, headers=headers, due_s=due_s)

        async def ask_noop(picture: Labelled, due_s: float) -> Asked:
            return await ask(noop, picture, due_s=due_s)

        asked, nothing = await asyncio.gather(
            open_loop(ask_service, pictures, arrivals_s),
            open_loop(ask_noop, pictures[: len(noop_arrivals_s)], noop_arrivals_s),
        )
    return _Sent(asked, tally(nothing).refusal_ms)


def _own_refusal_ms(stand: Stand, log_began: int) -> Percentiles | None:
    """How long refusals took by the server's own clock, from its log."""
    return percentiles(
        [
            float(event["duration_ms"])
            for event in stand.service.log_events(since_bytes=log_began)
            if event.get("event") == "request" and event.get("status") in _REFUSED_STATUSES
        ]
    )


def _note(
    counted: Tally,
    own_ms: Percentiles | None,
    noop_ms: Percentiles | None,
    capacity_per_s: float,
    goodput_per_s: float,
) -> str:
    parts = [f"capacity {capacity_per_s:.1f}/s, goodput {goodput_per_s:.1f}/s"]
    for name, found in (
        ("refusals", counted.refusal_ms),
        ("in the server", own_ms),
        ("client on a no-op", noop_ms),
    ):
        if found is not None:
            parts.append(f"{name} p50 {found.p50:.1f}, p90 {found.p90:.1f}, p99 {found.p99:.1f} ms")
    return "; ".join(parts)
