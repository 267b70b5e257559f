"""All sweeps: the points in turn, round after round, on one service; fewer cores on one more."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cost.loads import Loads
from benchmarks.cost.measuring import STAGES, Cost, measure
from benchmarks.cost.points import Point, Sweep, points_of
from benchmarks.processes.http import ServerProcess
from benchmarks.stats import spread


@dataclass(frozen=True, slots=True)
class CostConfig:
    """Which sweeps, how often each point. Caches of the service are off, pixels always fresh."""

    sweeps: tuple[Sweep, ...]
    rounds: int = 3
    seed: int = 2024
    caches: str = "off"


@dataclass(slots=True)
class Found:
    """Of one point, over the rounds."""

    point: Point
    costs: list[Cost]


def run_cost(
    config: CostConfig,
    paths: Sequence[Path],
    model: str,
    *,
    on_step: Callable[[str], None],
) -> list[Found]:
    """Measure every point; raises what the server and the asking raise."""
    all_cores = len(os.sched_getaffinity(0))
    loads = Loads(paths, seed=config.seed)
    points = [point for one in config.sweeps for point in points_of(one, machine_cores=all_cores)]
    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="sightward-cost-") as scratch:
        counts = sorted({point.cores or all_cores for point in points}, reverse=True)
        for cores in counts:
            mine = [Found(one, []) for one in points if (one.cores or all_cores) == cores]
            found += mine
            on_step(f"starting a service on {cores} cores")
            with _service(Path(scratch) / f"{cores}.log", model, cores) as server:
                for number in range(config.rounds + 1):
                    for one in mine if number % 2 == 0 else mine[::-1]:
                        what = f"{one.point.sweep} {one.point.value}"
                        on_step(f"round {number} of {config.rounds}: {what}")
                        bodies = loads.bodies(one.point)
                        if number == 0:  # thrown away, and a few calls are enough for that
                            bodies = bodies[: one.point.clients]
                        cost = asyncio.run(
                            measure(server.url, server.pid, one.point, bodies, cores=cores)
                        )
                        if number > 0:
                            one.costs.append(cost)
    return [next(one for one in found if one.point == point) for point in points]


def cost_figures(found: Sequence[Found]) -> list[dict[str, Any]]:
    """A row a point: spreads of what was measured, and what bounds it in most rounds."""
    return [
        {
            "sweep": one.point.sweep,
            "value": one.point.value,
            "point": asdict(one.point),
            **{
                name: asdict(spread([getattr(cost, name) for cost in one.costs]))
                for name in ("items_per_s", "p50_ms", "p95_ms", "busy")
            },
            "stage_ms": {
                stage: _median([c.stage_ms[stage] for c in one.costs]) for stage in STAGES
            },
            "cpu_ms": {
                name: _median([cost.cpu_ms[name] for cost in one.costs])
                for name in one.costs[0].cpu_ms
            },
            "bound_by": _most([cost.bound_by for cost in one.costs]),
        }
        for one in found
    ]


@contextlib.contextmanager
def _service(log: Path, model: str, cores: int) -> Iterator[ServerProcess]:
    """A service that has the first so many cores; the client keeps all of them."""
    before = os.sched_getaffinity(0)
    with contextlib.ExitStack() as stack:
        # A child has what its parent has as it starts, and vLLM counts its cores then.
        os.sched_setaffinity(0, set(sorted(before)[:cores]))
        try:
            server = stack.enter_context(ServerProcess(log, model=model))
        finally:
            os.sched_setaffinity(0, before)
        server.wait_until_ready()
        yield server


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return spread(known).median if known else None


def _most(values: Sequence[str]) -> str:
    return max(sorted(set(values)), key=list(values).count)
