"""The benchmark `capacity`: how many requests a second a running endpoint takes within limits.

Every rate is tried in an open loop at random times, so that a service that falls behind is not
spared; pictures are new in every request. The first part of a trial is not counted.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alignment.data.manifest import Example, ImageSet
from benchmarks.fresh_images import new_pixel_seed
from benchmarks.load.bodies import BodyShape, Turn, make_bodies
from benchmarks.load.capacity_search import (
    Capacity,
    CapacityLimits,
    SearchPlan,
    Trial,
    search_capacity,
)
from benchmarks.load.client_cost import ClientCost, measure_client
from benchmarks.load.open_loop import open_loop, poisson_arrivals_in
from benchmarks.load.sending import Sent, send
from benchmarks.load.wire import Sender
from benchmarks.records import DataOrigin, build_record
from benchmarks.stats import percentiles

_CLIENT_S = 10.0
"""How long the client alone is measured, at most."""


@dataclass(frozen=True, slots=True)
class CapacityConfig:
    """What is tried and how: `seconds` are counted in each trial, after `settle_s` that are not.

    A request that is not answered within `give_up_s` is cancelled, and has failed. Pixels are fresh
    in every request and, by `pixel_seed`, in every run.
    """

    url: str
    limits: CapacityLimits
    plan: SearchPlan
    seconds: float = 20.0
    settle_s: float = 3.0
    give_up_s: float = 10.0
    model: str | None = None
    seed: int = 2024
    pixel_seed: int = field(default_factory=new_pixel_seed)


async def run_capacity(
    config: CapacityConfig,
    image_set: ImageSet,
    sender: Sender,
    *,
    model_version: str,
    with_detail: bool = True,
    on_trial: Callable[[Trial], None] = lambda _: None,
    with_client: bool = True,
) -> dict[str, Any]:
    """Search, and give the record; raises `DataError`."""
    examples = image_set.held_out()
    shape = BodyShape(with_detail=with_detail, model=config.model)
    tried = 0

    async def attempt(rate_per_s: float) -> Trial:
        nonlocal tried
        tried += 1
        trial = await _try(config, image_set, examples, shape, sender, rate_per_s, tried)
        on_trial(trial)
        return trial

    found = await search_capacity(attempt, config.plan, config.limits)
    client = None
    if with_client and found.trials:
        client = await _client_at(config, image_set, examples, shape, found)
    return build_record(
        "capacity",
        config=dataclasses.asdict(config),
        data=DataOrigin(image_set.name, image_set.sha256, "held out", len(examples)),
        model_version=model_version,
        figures={
            "rate_per_s": found.rate_per_s,
            "fails_per_s": found.fails_per_s,
            "is_confirmed": found.is_confirmed,
            "client": client and dataclasses.asdict(client),
        },
        measurements=[
            {**dataclasses.asdict(trial), "holds": trial.holds(config.limits)}
            for trial in found.trials
        ],
    )


async def _try(
    config: CapacityConfig,
    image_set: ImageSet,
    examples: Sequence[Example],
    shape: BodyShape,
    sender: Sender,
    rate_per_s: float,
    number: int,
) -> Trial:
    # Either part has the rate that is tried; a very low one is tried at least once.
    settling = poisson_arrivals_in(
        round(rate_per_s * config.settle_s), config.settle_s, seed=(config.seed, number, 0)
    )
    measured = poisson_arrivals_in(
        max(1, round(rate_per_s * config.seconds)), config.seconds, seed=(config.seed, number, 1)
    )
    arrivals_s = [*settling, *(config.settle_s + one for one in measured)]
    turns = _turns(examples, len(arrivals_s), config.seed, number)
    with make_bodies(image_set, turns, shape, fresh=True, seed=config.pixel_seed) as bodies:

        async def ask(index: int, due_s: float) -> Sent:
            return await send(sender, bodies[index], give_up_s=config.give_up_s, due_s=due_s)

        sent = await open_loop(ask, range(len(turns)), arrivals_s)
    counted = [one for one, due_s in zip(sent, arrivals_s, strict=True) if due_s >= config.settle_s]
    return trial_of(rate_per_s, counted, seconds=config.seconds, limits=config.limits)


def trial_of(
    rate_per_s: float, sent: Sequence[Sent], *, seconds: float, limits: CapacityLimits
) -> Trial:
    """What became of the requests that were due within `seconds`; `sent` is not empty."""
    answered = [one for one in sent if one.end == "ok"]
    refused = sum(one.end == "refused" for one in sent)
    began_s = min(one.due_s for one in sent)
    # A service that falls behind answers what was due long after; it did not take it in `seconds`.
    took_s = max(seconds, max((one.ended_s for one in answered), default=began_s) - began_s)
    in_time = sum(one.latency_ms <= limits.p95_ms for one in answered)
    return Trial(
        rate_per_s=rate_per_s,
        requests=len(sent),
        offered_per_s=len(sent) / seconds,
        throughput_per_s=len(answered) / took_s,
        goodput_per_s=in_time / took_s,
        refused_share=refused / len(sent),
        failed_share=(len(sent) - len(answered) - refused) / len(sent),
        latency_ms=percentiles([one.latency_ms for one in answered]),
    )


async def _client_at(
    config: CapacityConfig,
    image_set: ImageSet,
    examples: Sequence[Example],
    shape: BodyShape,
    found: Capacity,
) -> ClientCost:
    """What the client costs at the rate that was found."""
    rate_per_s = found.rate_per_s or found.trials[0].rate_per_s
    count = max(1, round(rate_per_s * _CLIENT_S))
    arrivals_s = poisson_arrivals_in(count, _CLIENT_S, seed=(config.seed,))
    turns = _turns(examples, len(arrivals_s), config.seed, 0)
    with make_bodies(image_set, turns, shape, fresh=False, seed=config.pixel_seed) as bodies:
        return await measure_client(bodies, clients=1, arrivals_s=arrivals_s)


def _turns(examples: Sequence[Example], count: int, seed: int, number: int) -> list[Turn]:
    """So many pictures in random order; a trial is a pass of its own, so pixels never repeat."""
    picked = np.random.default_rng([seed, number]).integers(len(examples), size=count)
    return [Turn(examples[index], number) for index in picked.tolist()]
