"""One point measured: speed, latency, the service's own stages, and whose processor time it was."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cost.points import Point
from benchmarks.errors import MeasurementError
from benchmarks.faults.service import Metrics
from benchmarks.load.wire import Wire
from benchmarks.peers.processes import cpu_seconds_by_process

STAGES = ("queue", "decode", "engine", "total")
_OK = 200
_BUSY = 0.85
"""From this share of its processor time on a service's machine counts as busy."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`stage_ms` is the mean wall time by the service's own metrics, a picture or text (`queue` and
    `total`: a call). `cpu_ms` is processor time an item, by process. `busy` is the share of the
    service's cores that it and the client used, at most 1: a client may have others besides.
    """

    items_per_s: float
    p50_ms: float
    p95_ms: float
    stage_ms: dict[str, float | None]
    cpu_ms: dict[str, float]
    busy: float

    @property
    def bound_by(self) -> str:
        """The process to make cheaper first; `waiting` where cores are idle."""
        if self.busy < _BUSY:
            return "waiting"
        return max(self.cpu_ms, key=lambda name: self.cpu_ms[name])


async def measure(url: str, pid: int, point: Point, bodies: Sequence[bytes], *, cores: int) -> Cost:
    """Send the bodies by the point's clients; `cores` are what the service has.

    Raises `MeasurementError` for an answer that is no verdict.
    """
    latencies_ms: list[float] = []
    waiting = iter(bodies)
    async with Wire(url) as wire:

        async def client() -> None:
            for body in waiting:
                reply = await wire.request("POST", "/v1/moderations", body)
                if reply.status != _OK:
                    raise MeasurementError(f"answered {reply.status}: {reply.body[:200]!r}")
                latencies_ms.append(reply.latency_ms)

        stages_before = await _stages(wire)
        cpu_before = cpu_seconds_by_process(pid)
        client_before, began_s = time.process_time(), time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(point.clients):
                    group.create_task(client())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        seconds = time.perf_counter() - began_s
        client_cpu_s = time.process_time() - client_before
        cpu_after = cpu_seconds_by_process(pid)
        stages_after = await _stages(wire)
    cpu_s = {name: cpu_after[name] - cpu_before[name] for name in cpu_after}
    cpu_s["client"] = client_cpu_s
    return Cost(
        items_per_s=point.items / seconds,
        p50_ms=float(np.percentile(latencies_ms, 50)),
        p95_ms=float(np.percentile(latencies_ms, 95)),
        stage_ms=mean_stage_ms(stages_before, stages_after),
        cpu_ms={name: value * 1000 / point.items for name, value in cpu_s.items()},
        busy=busy_share(sum(cpu_s.values()), seconds, cores),
    )


def busy_share(cpu_s: float, seconds: float, cores: int) -> float:
    """What `cpu_s` is of so many cores' time, at most 1."""
    return min(1.0, cpu_s / (seconds * cores))


@dataclass(frozen=True, slots=True)
class StageTotals:
    """Seconds and how often, of one stage since the service began."""

    seconds: float
    count: float


def mean_stage_ms(
    before: dict[str, StageTotals], after: dict[str, StageTotals]
) -> dict[str, float | None]:
    """The mean duration of each stage between two looks; None of one that did not happen."""
    found: dict[str, float | None] = {}
    for stage in STAGES:
        count = after[stage].count - before[stage].count
        seconds = after[stage].seconds - before[stage].seconds
        found[stage] = seconds * 1000 / count if count > 0 else None
    return found


async def _stages(wire: Wire) -> dict[str, StageTotals]:
    metrics = Metrics((await wire.request("GET", "/metrics")).body.decode())
    return {stage: _stage(metrics, stage) for stage in STAGES}


def _stage(metrics: Metrics, stage: str) -> StageTotals:
    # No sample before the stage has happened once.
    seconds = metrics.total("sightward_stage_seconds_sum", stage=stage)
    count = metrics.total("sightward_stage_seconds_count", stage=stage)
    return StageTotals(*(0.0 if np.isnan(value) else value for value in (seconds, count)))
