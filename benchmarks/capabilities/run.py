"""The benchmark `capabilities`: plan, ask, write down, compute.

A run lives in a folder of its own. Started again with the same arguments it goes on where it was;
its figures are then the same, bit by bit, as if it had never stopped.
"""

import asyncio
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.capabilities.blocks import cut
from benchmarks.capabilities.figures import figures_of
from benchmarks.capabilities.interview import Interview, OpenScorer, Readers
from benchmarks.capabilities.journal import Block, Journal
from benchmarks.capabilities.plan import fingerprint
from benchmarks.capabilities.schema import CapabilitiesRecord, Model, ModeSpeed, Run
from benchmarks.capabilities.tasks import Mode, Task
from benchmarks.records import DataOrigin, commit, hardware, package_versions
from server.engine.protocol import BatchEngine, Sampling

RECORD_NAME = "record.json"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything a run needs but the engine: what to ask and how to read the answers.

    `config` is put into the record as it is; `engine_label` names the engine that runs the model.
    `block_size` is in tasks.
    """

    tasks: tuple[Task, ...]
    readers: Mapping[Mode, Readers]
    data: DataOrigin
    versions: Mapping[str, str]
    config: Mapping[str, Any]
    engine_label: str
    sampling: Sampling
    scorer: OpenScorer | None = None
    seed: int = 2024
    resamples: int = 1000
    block_size: int = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in tasks; `resumed` of them were answered by an earlier part."""

    done: int
    total: int
    resumed: int


async def run(
    measurement: Measurement,
    engine: BatchEngine,
    *,
    folder: Callable[[str], Path],
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Ask everything that is left, and write the record; returns its path.

    `engine` has been started. `folder` names the run's folder from a digest of what is measured.
    Raises `MeasurementError` and `EngineUnavailableError`; what was answered by then is kept.
    """
    identity = _identity(measurement, engine)
    where = folder(hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest())
    blocks = cut(measurement.tasks, size=measurement.block_size)
    with Journal(where, identity) as journal:
        await _ask_what_is_left(measurement, engine, blocks, journal, on_progress)
        record = _record(measurement, engine, [journal.blocks[i] for i in range(len(blocks))])
    path = where / RECORD_NAME
    draft = path.with_suffix(".tmp")
    draft.write_text(record.model_dump_json() + "\n", encoding="utf-8")
    draft.replace(path)
    return path


async def _ask_what_is_left(
    measurement: Measurement,
    engine: BatchEngine,
    blocks: Sequence[Sequence[Task]],
    journal: Journal,
    on_progress: Callable[[Progress], None],
) -> None:
    interview = Interview(
        engine,
        measurement.readers,
        sampling=measurement.sampling,
        scorer=measurement.scorer,
    )
    done = resumed = sum(len(block.rows) for block in journal.blocks.values())
    on_progress(Progress(done, len(measurement.tasks), resumed))
    for index, tasks in enumerate(blocks):
        if index in journal.blocks:
            continue
        # Only the asking is timed: reading the answers is the same work for every engine.
        began_s = time.perf_counter()
        said = await interview.ask(tasks)
        seconds = time.perf_counter() - began_s
        rows = await interview.read(said)
        await asyncio.to_thread(journal.add, index, rows, seconds=seconds)
        done += len(rows)
        on_progress(Progress(done, len(measurement.tasks), resumed))


def _identity(measurement: Measurement, engine: BatchEngine) -> dict[str, Any]:
    """All that decides an answer: a run with another one is another run."""
    return {
        "questions": fingerprint(measurement.tasks),
        "data": measurement.data.sha256,
        "split": measurement.data.split,
        "model": f"{engine.card.id}@{engine.card.version}",
        "engine": measurement.engine_label,
        "readers": _reader_names(measurement),
        "sampling": dataclasses.asdict(measurement.sampling),
        "block_size": measurement.block_size,
        "versions": dict(measurement.versions),
    }


def _reader_names(measurement: Measurement) -> dict[str, str]:
    names: dict[str, str] = {
        mode: f"{readers.judged.name} / {readers.lettered.name}"
        for mode, readers in measurement.readers.items()
    }
    if measurement.scorer is not None:
        names["open"] = measurement.scorer.name
    return names


def _record(
    measurement: Measurement, engine: BatchEngine, blocks: Sequence[Block]
) -> CapabilitiesRecord:
    rows = sorted((row for block in blocks for row in block.rows), key=lambda row: row.task)
    return CapabilitiesRecord(
        run=Run(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(),
            packages=package_versions(),
            hardware=hardware(),
            resumed=max((block.part for block in blocks), default=0),
            speed=_speed(blocks),
        ),
        config=dict(measurement.config),
        data=measurement.data,
        model=Model(
            id=engine.card.id,
            version=engine.card.version,
            engine=measurement.engine_label,
            readers=_reader_names(measurement),
        ),
        versions=dict(measurement.versions),
        figures=figures_of(rows, seed=measurement.seed, resamples=measurement.resamples),
        answers=tuple(rows),
    )


def _speed(blocks: Sequence[Block]) -> dict[Mode, ModeSpeed]:
    """Over all parts of the run, each mode by itself."""
    modes = dict.fromkeys(block.rows[0].mode for block in blocks)
    speed: dict[Mode, ModeSpeed] = {}
    for mode in modes:
        of_mode = [block for block in blocks if block.rows[0].mode == mode]
        rows = [row for block in of_mode for row in block.rows]
        speed[mode] = ModeSpeed(
            answers=len(rows),
            pictures=len({(row.benchmark, row.subject) for row in rows if row.modality == "image"}),
            seconds=sum(block.seconds for block in of_mode),
            tokens=sum(1 if row.tokens is None else row.tokens for row in rows),
        )
    return speed
