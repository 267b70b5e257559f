"""The Redis that replicas share is killed under load and comes back: nothing fails meanwhile, and
the cache answers again afterwards.
"""

import asyncio
from dataclasses import asdict

from benchmarks.faults.asking import Asked, Tally, ask, tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, none_of
from benchmarks.faults.load import ClosedLoop
from benchmarks.faults.pictures import Labelled
from benchmarks.faults.redis_server import redis_program
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire

NAME, TITLE = "redis-gone", "Redis killed under load, and back"

_LATENCY_GOAL = 1.5
_HITS_WAIT_S = 15.0


def cannot_run() -> str | None:
    """Why not; None: it can."""
    return None if redis_program() else "neither redis-server nor valkey-server is installed"


async def run(stand: Stand) -> FaultReport:
    """Clients throughout: with Redis, without, and with it again."""
    redis = stand.redis
    if redis is None:
        return FaultReport(NAME, TITLE, not_run=cannot_run() or "the service has no Redis")
    seconds = stand.share_s(0.12)
    async with Wire(stand.service.url) as wire:
        with_redis = await _measured(stand, wire, seconds)
        hits_before = await _is_hit(wire, stand.drawings.next())
        await asyncio.to_thread(redis.kill)
        without = await _measured(stand, wire, seconds)
        await asyncio.to_thread(redis.start)
        again = await _measured(stand, wire, seconds / 2)
        hits_after_s = await _hits_after_s(wire, stand)
        failures = (await stand.service.metrics()).total("sightward_cache_failures_total")
    lost = sum(one.failed + one.lost + one.late for one in (with_redis, without, again))
    slowdown = (
        without.answer_ms.p90 / with_redis.answer_ms.p90
        if with_redis.answer_ms and without.answer_ms
        else None
    )
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            none_of("requests failed or lost", lost),
            none_of(
                "unsafe pictures let through",
                with_redis.let_through + without.let_through + again.let_through,
            ),
            at_most("p90 without Redis / with", slowdown, _LATENCY_GOAL),
            at_least("answered from the cache before", float(hits_before), 1),
            at_most("from the cache again after", hits_after_s, _HITS_WAIT_S, "s"),
            at_least("failures counted", failures, 1),
        ),
        figures={
            "with_redis": asdict(with_redis),
            "without": asdict(without),
            "again": asdict(again),
            "cache_failures": failures,
        },
        note="" if slowdown is None else f"p90 without Redis {slowdown:.2f} times that with it",
    )


async def _measured(stand: Stand, wire: Wire, seconds: float) -> Tally:
    async def ask_one(picture: Labelled) -> Asked:
        return await ask(wire, picture)

    loop = ClosedLoop(ask_one, stand.drawings.next, clients=max(1, stand.config.clients // 2))
    async with loop:
        await asyncio.sleep(seconds)
    return tally(loop.asked)


async def _is_hit(wire: Wire, picture: Labelled) -> bool:
    """Whether a picture's second judging comes from the cache."""
    await ask(wire, picture)
    return (await ask(wire, picture)).source == "cache"


async def _hits_after_s(wire: Wire, stand: Stand) -> float | None:
    """How long until the cache answers; None: it did not."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < _HITS_WAIT_S:
        if await _is_hit(wire, stand.drawings.next()):
            return loop.time() - began_s
        await asyncio.sleep(0.2)
    return None
