"""The benchmark `cache`: how fast a picture is answered that was judged before.

Three contenders take turns on one machine, in rounds: a service with the cache in memory, another
with it in Redis where there is one, and an endpoint that does nothing, which is what the client and
the machine cost. Each round first sends pictures that nobody has seen, then one and the same
picture again and again. Every other benchmark keeps caches off.
"""

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.endpoint import EndpointError
from benchmarks.faults.pictures import Drawings, Labelled
from benchmarks.faults.redis_server import RedisServer, redis_program
from benchmarks.faults.service import EngineKind, Service
from benchmarks.load.no_op import NoOpEndpoint
from benchmarks.load.wire import Wire
from benchmarks.processes.http import free_port
from benchmarks.records import DataOrigin, build_record
from benchmarks.stats import Spread, spread

_OK = 200


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """`repeats` of one picture a round for all clients, `fresh` pictures that are new."""

    engine: EngineKind = "real"
    clients: int = 8
    rounds: int = 5
    repeats: int = 4000
    fresh: int = 48
    seed: int = 2024


@dataclass(frozen=True, slots=True)
class Burst:
    """So many requests by all clients: how many a second, and how long one took."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class BurstFigures:
    """Medians over the rounds, with the lowest and the highest."""

    requests_per_s: Spread
    p50_ms: Spread
    p99_ms: Spread


@dataclass(frozen=True, slots=True)
class _Contender:
    """Whom to ask, and whether it judges anything."""

    name: str
    url: str
    judges: bool


def run_cache(config: CacheConfig, *, on_round: Callable[[], None]) -> dict[str, Any]:
    """Start all, measure, and give the record; `on_round` is called after each round.

    Raises `EndpointError` where a request is not answered or the cache did not answer it, and
    `ProcessError`. The first round is thrown away.
    """
    drawings = Drawings(seed=config.seed)
    with (
        tempfile.TemporaryDirectory(prefix="sightward-cache-") as scratch,
        _contenders(config, Path(scratch)) as (contenders, version),
    ):
        rounds = []
        for number in range(config.rounds + 1):
            order = contenders if number % 2 == 0 else contenders[::-1]
            rounds.append(asyncio.run(_round(config, drawings, order)))
            on_round()
    measured = rounds[1:]
    return build_record(
        "cache",
        config=dataclasses.asdict(config),
        data=DataOrigin("drawings", "", "none", 2),
        model_version=version,
        figures={name: dataclasses.asdict(_figures(measured, name)) for name in measured[0]},
        measurements=[
            {name: dataclasses.asdict(burst) for name, burst in one.items()} for one in measured
        ],
    )


@contextlib.contextmanager
def _contenders(config: CacheConfig, scratch: Path) -> Iterator[tuple[tuple[_Contender, ...], str]]:
    with contextlib.ExitStack() as stack:
        environs: dict[str, Mapping[str, str]] = {"memory": {"SIGHTWARD_CACHE": "memory"}}
        if (program := redis_program()) is not None:
            redis = stack.enter_context(RedisServer(program, free_port(), scratch))
            environs["redis"] = {"SIGHTWARD_CACHE": "redis", "SIGHTWARD_REDIS_URL": redis.url}
        services = {
            name: stack.enter_context(
                Service(scratch / f"{name}.log", engine=config.engine, environ=environ)
            )
            for name, environ in environs.items()
        }
        for service in services.values():
            service.wait_until_ready()
        version = asyncio.run(services["memory"].model_version())
        found = [_Contender(name, service.url, True) for name, service in services.items()]
        nothing = stack.enter_context(NoOpEndpoint()).url
        yield (*found, _Contender("nothing", nothing, False)), version


async def _round(
    config: CacheConfig, drawings: Drawings, contenders: Sequence[_Contender]
) -> dict[str, Burst]:
    """What each contender did with pictures of its own, named `memory known` and the like."""
    bursts = {}
    for one in contenders:
        known, fresh = drawings.next(), drawings.stock(config.fresh)
        async with Wire(one.url) as wire:
            if one.judges:
                await _ask(wire, known, one)
                bursts[f"{one.name} fresh"] = await _burst(config, wire, fresh, one)
            repeated = [known] * config.repeats
            bursts[f"{one.name} known"] = await _burst(config, wire, repeated, one, is_known=True)
    return bursts


async def _burst(
    config: CacheConfig,
    wire: Wire,
    pictures: Sequence[Labelled],
    contender: _Contender,
    *,
    is_known: bool = False,
) -> Burst:
    waiting = iter(pictures)
    latencies_ms: list[float] = []

    async def client() -> None:
        for picture in waiting:
            latency_ms = await _ask(wire, picture, contender, is_known=is_known)
            latencies_ms.append(latency_ms)

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(config.clients):
            group.create_task(client())
    seconds = time.perf_counter() - began_s
    return Burst(
        len(pictures) / seconds,
        float(np.percentile(latencies_ms, 50)),
        float(np.percentile(latencies_ms, 99)),
    )


async def _ask(
    wire: Wire, picture: Labelled, contender: _Contender, *, is_known: bool = False
) -> float:
    """The answer's latency in ms; raises `EndpointError` if it is not the one expected."""
    reply = await wire.request("POST", "/v1/moderations", picture.body)
    if contender.judges:
        if reply.status != _OK:
            raise EndpointError(contender.url, f"answered {reply.status}: {reply.body[:200]!r}")
        # Looked for, not parsed: on few cores the client's work is taken from the server's.
        if is_known and b'"scores_from":["cache"]' not in reply.body:
            raise EndpointError(contender.url, "a picture judged before was judged again")
    return reply.latency_ms


def _figures(rounds: Sequence[Mapping[str, Burst]], name: str) -> BurstFigures:
    return BurstFigures(
        **{
            field.name: spread([getattr(one[name], field.name) for one in rounds])
            for field in dataclasses.fields(BurstFigures)
        }
    )
