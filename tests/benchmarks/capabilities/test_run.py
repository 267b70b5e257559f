"""A whole run with a stub engine: the record, and what survives a stop."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from alignment.data.contexts import load_contexts
from alignment.data.manifest import ImageSet
from alignment.responses.logits import LogitLetters, LogitsClassifier
from alignment.responses.rules import RuleLetters, RulesClassifier
from benchmarks.capabilities.interview import Readers
from benchmarks.capabilities.plan import PlanConfig, make_plan
from benchmarks.capabilities.run import Measurement, Progress, run
from benchmarks.capabilities.schema import CapabilitiesRecord, read_record
from benchmarks.errors import MeasurementError
from benchmarks.records import DataOrigin
from server.concepts.probes import load_probes
from server.engine.protocol import Answer, Prompt, Question, Sampling, Written
from server.engine.stub import STUB_CARD, StubEngine
from server.errors import EngineUnavailableError


def share(words: str) -> float:
    """A number in [0, 1) that depends on the words alone."""
    return hashlib.sha256(words.encode()).digest()[0] / 256


def opinionated(question: Question) -> Answer:
    pixel = question.image.getpixel((0, 0)) if question.image else None
    first = share(f"{question.text}{pixel}")
    rest = (1.0 - first) / (len(question.options) - 1)
    return Answer(dict.fromkeys(question.options, rest) | {question.options[0]: first})


def talkative(prompt: Prompt) -> Written:
    return Written(("Yes.", "No.", "B", "Hm.")[prompt.seed % 4], 1 + prompt.seed % 3, True)


def engine() -> StubEngine:
    return StubEngine(opinionated, writes=talkative)


class Dying(StubEngine):
    """Answers `left` batches and is gone."""

    def __init__(self, left: int) -> None:
        super().__init__(opinionated, writes=talkative)
        self._left = left

    async def ready(self) -> bool:
        self._left -= 1
        return self._left >= 0


@pytest.fixture
def measurement(image_set: ImageSet) -> Measurement:
    return Measurement(
        tasks=make_plan(image_set, PlanConfig(), probes=load_probes(), contexts=load_contexts()),
        readers={
            "token": Readers(LogitsClassifier(), LogitLetters()),
            "written": Readers(RulesClassifier(), RuleLetters()),
        },
        data=DataOrigin("set", image_set.sha256, "test", 6),
        versions={"probes": load_probes().version},
        config={"modes": ["token", "written"]},
        engine_label="stub",
        sampling=Sampling(),
        resamples=50,
        block_size=16,
    )


async def record_of(measurement: Measurement, stub: StubEngine, folder: Path) -> CapabilitiesRecord:
    await stub.start()
    return read_record(await run(measurement, stub, folder=lambda _: folder))


def unchanging(record: CapabilitiesRecord) -> str:
    return record.model_dump_json(exclude={"run"})


async def test_every_task_is_asked_once_and_is_in_the_record(
    measurement: Measurement, tmp_path: Path
) -> None:
    stub = engine()
    record = await record_of(measurement, stub, tmp_path)

    assert {row.task for row in record.answers} == {task.id for task in measurement.tasks}
    assert len(stub.questions) + len(stub.prompts) == len(measurement.tasks)
    assert record.run.resumed == 0
    assert record.run.speed["token"].answers == len(stub.questions)
    assert record.run.speed["token"].pictures == 6
    assert record.run.speed["written"].tokens > len(stub.prompts)


@pytest.mark.parametrize("answered", [1, 17, 40])
async def test_a_run_that_was_cut_off_ends_with_the_same_bytes(
    measurement: Measurement, tmp_path: Path, answered: int
) -> None:
    whole = await record_of(measurement, engine(), tmp_path / "whole")

    with pytest.raises(EngineUnavailableError):
        await record_of(measurement, Dying(answered), tmp_path / "cut")
    rest = engine()
    resumed = await record_of(measurement, rest, tmp_path / "cut")

    assert unchanging(resumed) == unchanging(whole)
    assert len(rest.questions) + len(rest.prompts) <= len(measurement.tasks)
    assert resumed.run.resumed == int(answered > 16)


async def test_what_was_answered_is_not_asked_again(
    measurement: Measurement, tmp_path: Path
) -> None:
    await record_of(measurement, engine(), tmp_path)
    again = engine()
    await record_of(measurement, again, tmp_path)

    assert again.questions == []
    assert again.prompts == []


async def test_progress_starts_where_the_run_was_left(
    measurement: Measurement, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    stub = engine()
    await stub.start()
    await run(measurement, stub, folder=lambda _: tmp_path, on_progress=seen.append)
    total = len(measurement.tasks)
    assert seen[0] == Progress(0, total, 0)
    assert seen[-1] == Progress(total, total, 0)

    seen.clear()
    await run(measurement, stub, folder=lambda _: tmp_path, on_progress=seen.append)
    assert seen == [Progress(total, total, total)]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, block_size=8),
        lambda one: replace(one, sampling=Sampling(temperature=0.5)),
        lambda one: replace(one, tasks=one.tasks[1:]),
        lambda one: replace(one, versions={"probes": "other"}),
        lambda one: replace(one, data=replace(one.data, sha256="0" * 64)),
    ],
)
async def test_another_measurement_is_another_run(
    measurement: Measurement, tmp_path: Path, change: Callable[[Measurement], Measurement]
) -> None:
    names: list[str] = []
    stub = engine()
    await stub.start()
    for one in (measurement, change(measurement)):

        def folder(digest: str) -> Path:
            names.append(digest)
            return tmp_path / digest

        await run(one, stub, folder=folder)

    assert len(set(names)) == 2
    with pytest.raises(MeasurementError, match="holds another run"):
        await run(change(measurement), stub, folder=lambda _: tmp_path / names[0])


async def test_another_model_is_another_run(measurement: Measurement, tmp_path: Path) -> None:
    await record_of(measurement, engine(), tmp_path)
    other = StubEngine(opinionated, writes=talkative, card=replace(STUB_CARD, version="1" * 12))

    with pytest.raises(MeasurementError, match="not the same model"):
        await record_of(measurement, other, tmp_path)
