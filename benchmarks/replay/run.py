"""The replay itself: find out who answers, make the pictures, send them, measure, record.

The model must be the same before and after: a service that was replaced half way has no figures.
"""

import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from alignment.data.manifest import Example, ImageSet
from benchmarks.clients import work_through
from benchmarks.errors import MeasurementError
from benchmarks.load.bodies import Bodies, BodyShape, Turn, make_bodies
from benchmarks.load.client_cost import ClientCost
from benchmarks.load.open_loop import open_loop, poisson_arrivals_of
from benchmarks.load.peer import Contract, find_peer
from benchmarks.load.sending import Sent, send
from benchmarks.load.wire import Sender
from benchmarks.progress import counting_progress
from benchmarks.records import DataOrigin, build_record
from benchmarks.replay.accuracy import accuracy_of
from benchmarks.replay.arrivals import read_arrivals_s
from benchmarks.replay.config import ReplayConfig
from benchmarks.replay.inputs import text_of
from benchmarks.replay.latency import latency_of
from benchmarks.replay.rows import Row, rows_of
from benchmarks.served_figures import Replayed, measure

MeasureClient = Callable[[Bodies, Sequence[float] | None], Awaitable[ClientCost]]


async def run_replay(
    config: ReplayConfig,
    image_set: ImageSet,
    sender: Sender,
    *,
    console: Console,
    measure_client: MeasureClient | None = None,
) -> dict[str, Any]:
    """Replay, measure, and give the record.

    `measure_client` is told the bodies and their times and says what the client costs.
    Raises `EndpointError`, `DataError` and `MeasurementError`.
    """
    config.check()
    examples = chosen_examples(image_set, config)
    arrivals_s = _arrivals_s(config, len(examples))
    turns = make_turns(examples, config, None if arrivals_s is None else len(arrivals_s))
    peer = await find_peer(sender, config.url, expected=config.contract)
    shape = BodyShape(with_detail=peer.contract == "sightward", model=config.model)
    with counting_progress(console) as progress:
        warm_up = turns[: config.warm_up]
        task = progress.add_task("making pictures", total=len(turns) + len(warm_up))

        def bodies_of(some: Sequence[Turn], seed: int) -> Bodies:
            return make_bodies(
                image_set,
                some,
                shape,
                fresh=not config.allow_cache,
                seed=seed,
                on_body=lambda: progress.advance(task),
            )

        with (
            bodies_of(turns, config.pixel_seed) as bodies,
            bodies_of(warm_up, config.pixel_seed + 1) as first,
        ):
            await _send_all(config, sender, first, None, lambda: None)
            sending = progress.add_task("sending", total=len(turns))
            sent = await _send_all(
                config, sender, bodies, arrivals_s, lambda: progress.advance(sending)
            )
            client = await measure_client(bodies, arrivals_s) if measure_client else None
    rows = rows_of(turns, sent, peer.contract)
    if not any(row.end == "ok" for row in rows):
        raise MeasurementError(f"no request was answered: {_ends(rows)}")
    words = await _ask_words(config, sender, shape, peer.contract, turns, rows)
    if (
        peer.model_version is not None
        and (await find_peer(sender, config.url, expected=config.contract)) != peer
    ):
        raise MeasurementError("the endpoint changed its model during the run")
    accuracy = accuracy_of(rows, seed=config.seed, resamples=config.resamples)
    return build_record(
        "replay",
        config={
            **dataclasses.asdict(config),
            "arrivals": config.arrivals and Path(config.arrivals).name,
            "loop": config.loop,
            "contract": peer.contract,
            "pixels": "files as they are" if config.allow_cache else "fresh in every request",
        },
        data=DataOrigin(
            image_set.name, image_set.sha256, config.split or "held out", len(examples)
        ),
        model_version=peer.model_version or _answered_as(rows),
        figures={
            "accuracy": dataclasses.asdict(accuracy),
            "latency": dataclasses.asdict(latency_of(rows, objective_ms=config.objective_ms)),
            "client": client and dataclasses.asdict(client),
            "words": words,
        },
        measurements=[dataclasses.asdict(row) for row in rows],
    )


def _ends(rows: Sequence[Row]) -> str:
    """How they ended instead, most often first."""
    counted = Counter(f"{row.end} ({row.code or row.status or 'no answer'})" for row in rows)
    return ", ".join(f"{count} {end}" for end, count in counted.most_common())


def chosen_examples(image_set: ImageSet, config: ReplayConfig) -> tuple[Example, ...]:
    """The split's examples, or a seeded sample of them; raises `MeasurementError` for none."""
    if config.split is None:
        examples = image_set.held_out()
    else:
        examples = image_set.examples if config.split == "all" else image_set.split(config.split)
    if not examples:
        raise MeasurementError(f"the split {config.split!r} has no examples")
    if config.limit is None or config.limit >= len(examples):
        return tuple(examples)
    picked = np.random.default_rng(config.seed).permutation(len(examples))[: config.limit]
    return tuple(examples[index] for index in sorted(picked.tolist()))


def make_turns(examples: Sequence[Example], config: ReplayConfig, count: int | None) -> list[Turn]:
    """Whole passes, or `count` requests; each pass in an order of its own."""
    total = config.passes * len(examples) if count is None else count
    turns: list[Turn] = []
    while len(turns) < total:
        number = len(turns) // len(examples)
        order = np.random.default_rng([config.seed, number]).permutation(len(examples))
        turns += [Turn(examples[index], number) for index in order.tolist()]
    return turns[:total]


def _arrivals_s(config: ReplayConfig, examples: int) -> list[float] | None:
    if config.arrivals is not None:
        return list(read_arrivals_s(Path(config.arrivals), speed=config.speed))
    if config.rate_per_s is not None:
        return poisson_arrivals_of(config.passes * examples, config.rate_per_s, seed=config.seed)
    return None


async def _send_all(
    config: ReplayConfig,
    sender: Sender,
    bodies: Bodies,
    arrivals_s: Sequence[float] | None,
    on_answer: Callable[[], None],
) -> list[Sent]:
    numbers = range(len(bodies))

    async def ask(number: int, due_s: float | None = None) -> Sent:
        found = await send(sender, bodies[number], give_up_s=config.give_up_s, due_s=due_s)
        on_answer()
        return found

    if arrivals_s is None:

        async def ask_next(number: int) -> Sent:
            return await ask(number)

        return await work_through(numbers, ask_next, clients=config.clients)
    return await open_loop(ask, numbers, arrivals_s)


async def _ask_words(
    config: ReplayConfig,
    sender: Sender,
    shape: BodyShape,
    contract: Contract,
    turns: Sequence[Turn],
    rows: Sequence[Row],
) -> dict[str, Any] | None:
    """What `served` measures, of the first pass: pictures and words, and the gap between them."""
    if config.words == "none":
        return None
    field = config.words
    first = {row.id: row for row in rows if row.pass_number == 0}
    examples = list(
        {turn.example.id: turn.example for turn in turns if turn.pass_number == 0}.values()
    )
    texts = {example.id: text_of(example, field) for example in examples}
    about = {text: example for example in examples for text in (texts[example.id],)}

    async def ask(text: str) -> Sent:
        return await send(sender, shape.of_text(text), give_up_s=config.give_up_s)

    sent = await work_through(list(about), ask, clients=config.clients)
    answered = [
        rows_of([Turn(example, 0)], [one], contract)[0].judged()
        for example, one in zip(about.values(), sent, strict=True)
    ]
    by_text = dict(zip(about, answered, strict=True))
    replayed = [
        Replayed(one, texts[one.id], first[one.id].judged(), by_text[texts[one.id]])
        for one in examples
    ]
    return dataclasses.asdict(measure(replayed, seed=config.seed, resamples=config.resamples))


def _answered_as(rows: Sequence[Row]) -> str:
    """The models that answers name, for an endpoint that names no version."""
    return ", ".join(sorted({row.model for row in rows if row.model})) or "unknown"
