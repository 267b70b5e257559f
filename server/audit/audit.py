"""An audit from its beginning to its files: open, judge what is left, draw the outputs."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from server.audit.console import summary_lines, summary_table
from server.audit.engines import JudgeSpec
from server.audit.errors import AuditError
from server.audit.gallery import GALLERY_NAME, write_gallery
from server.audit.item import Item, Source
from server.audit.labels import LabelRule, read_labels
from server.audit.local_run import judge_items
from server.audit.outputs import FLAGGED_NAME, SCORES_NAME, write_flagged, write_scores
from server.audit.progress import AuditProgress
from server.audit.sample import draw_sample, read_sample
from server.audit.sources import items_left, open_source
from server.audit.stopping import run_until_signal, stopped_by_signals
from server.audit.store import PART_ROWS, AuditStore
from server.audit.summary import (
    SUMMARY_NAME,
    RunFacts,
    Summary,
    read_run,
    summarise,
    write_run,
    write_summary,
)
from server.audit.tables import TableLayout
from server.audit.tally import tally_rows
from server.cascade import FastReader
from server.engine.model_requirements import measure_machine
from server.engine.protocol import Engine
from server.settings import Settings

_IN_FLIGHT_CPU = 16
_IN_FLIGHT_GPU = 256
_MOST_DECODE_THREADS = 16


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What the command line said; see `command.audit_dataset`."""

    source: str
    out: Path
    split: str = ""
    image: str = ""
    unsafe: str = ""
    labels: Path | None = None
    sample: int = 0
    seed: int = 2024
    gallery: int = 400
    in_flight: int | None = None
    decode_threads: int | None = None
    ray: str | None = None
    engines: int | None = None
    report_only: bool = False
    part_rows: int = PART_ROWS

    def __post_init__(self) -> None:
        for name in ("in_flight", "decode_threads", "engines"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise AuditError(f"--{name.replace('_', '-')} must be at least 1")
        for name in ("sample", "gallery"):
            if getattr(self, name) < 0:
                raise AuditError(f"--{name} must not be negative")
        if self.engines is not None and self.ray is None:
            raise AuditError("--engines needs --ray; one machine has one engine")


def _make_engine(settings: Settings) -> Engine:
    from server.serving_engine import make_engine

    return make_engine(settings)


def _make_reader(settings: Settings) -> FastReader:
    from server.serving_engine import make_fast_reader

    return make_fast_reader(settings)


def run_audit(
    options: AuditOptions,
    settings: Settings,
    *,
    make_engine: Callable[[Settings], Engine] = _make_engine,
    make_reader: Callable[[Settings], FastReader] = _make_reader,
    console: Console | None = None,
    error_console: Console | None = None,
) -> Summary:
    """Judge what has no row yet and write every output; gives the summary.

    Raises `SightwardError`, `StoppedError` among them; what was judged until then stays.
    """
    said = console or Console()
    shown = error_console or Console(stderr=True)
    rule = LabelRule.parse(options.unsafe) if options.unsafe else LabelRule()
    labels = None if options.labels is None else read_labels(options.labels)
    spec = _judge_spec(options, settings, make_engine, make_reader)
    spec.check()
    source = open_source(
        options.source, split=options.split, layout=TableLayout(options.image, rule)
    )
    identity = _identity(options, source)
    with AuditStore(options.out, identity, part_rows=options.part_rows) as store:
        run = None if options.report_only else _judge(source, spec, store, options, shown)
        store.finish()
        with stopped_by_signals():
            summary = _write_outputs(store, source, options, labels, run)
            if options.sample:
                sheet = draw_sample(store, source, size=options.sample, seed=options.seed)
                shown.print(
                    f"fill in {sheet}, then add --report-only --labels {sheet}", soft_wrap=True
                )
    for line in summary_lines(summary):
        said.print(line, highlight=False)
    said.print(summary_table(summary))
    said.print(
        f"{options.out}: {SCORES_NAME}, {FLAGGED_NAME}, {GALLERY_NAME}, {SUMMARY_NAME}",
        soft_wrap=True,
        highlight=False,
    )
    return summary


def _judge_spec(
    options: AuditOptions,
    settings: Settings,
    make_engine: Callable[[Settings], Engine],
    make_reader: Callable[[Settings], FastReader],
) -> JudgeSpec:
    in_flight = options.in_flight
    if in_flight is None:
        has_gpu = measure_machine().gpu_name is not None
        in_flight = _IN_FLIGHT_GPU if has_gpu else _IN_FLIGHT_CPU
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return JudgeSpec(
        settings=settings,
        make_engine=make_engine,
        make_reader=make_reader,
        decode_threads=options.decode_threads or min(_MOST_DECODE_THREADS, cores or 1),
        in_flight=in_flight,
    )


def _identity(options: AuditOptions, source: Source) -> dict[str, Any]:
    path = Path(options.source).expanduser()
    return {
        "source": str(path.resolve()) if path.exists() else options.source,
        "source_version": source.version,
        "split": options.split,
        "image": options.image,
        "unsafe": options.unsafe,
    }


def _judge(
    source: Source, spec: JudgeSpec, store: AuditStore, options: AuditOptions, console: Console
) -> RunFacts | None:
    """Judge what is left; None where nothing was, and no engine started."""
    with stopped_by_signals():
        items = items_left(source, store.done)
        first = next(items, None)
        if first is None:
            return None
        if options.ray is not None:
            return _judge_by_ray(source, spec, store, options, console)
    return run_until_signal(_judge_here(source, chain([first], items), spec, store, console))


async def _judge_here(
    source: Source, items: Iterator[Item], spec: JudgeSpec, store: AuditStore, console: Console
) -> RunFacts:
    if not console.is_terminal:
        console.print("loading the model")
    with console.status("loading the model"):
        engine = await asyncio.to_thread(spec.make_engine, spec.settings)
        try:
            await engine.start()
        except BaseException:
            await engine.stop()
            raise
    try:
        judge = await spec.judge(engine)
        store.identify({"judge": judge.version})
        already = len(store.done)
        with AuditProgress(console, already=already, count=source.count) as progress:
            await judge_items(
                items,
                judge,
                store,
                in_flight=spec.in_flight,
                on_row=lambda _: progress.advance(
                    pictures=1, flagged=store.flagged, unjudged=store.unjudged
                ),
            )
            facts = RunFacts(images=progress.judged, seconds=progress.seconds, engines=1)
        await judge.close()
    finally:
        await engine.stop()
    return facts


def _judge_by_ray(
    source: Source, spec: JudgeSpec, store: AuditStore, options: AuditOptions, console: Console
) -> RunFacts:
    from server.audit.ray_cluster import RaySettings, cluster, engine_count
    from server.audit.ray_run import judge_on_cluster

    ray_settings = RaySettings(address=options.ray or "auto", engines=options.engines)
    with cluster(ray_settings):
        engines = engine_count(ray_settings)
        with AuditProgress(console, already=len(store.done), count=source.count) as progress:
            judge_on_cluster(
                source,
                spec,
                store,
                engines=engines,
                on_rows=lambda rows: progress.advance(
                    pictures=rows, flagged=store.flagged, unjudged=store.unjudged
                ),
            )
            return RunFacts(images=progress.judged, seconds=progress.seconds, engines=engines)


def _write_outputs(
    store: AuditStore,
    source: Source,
    options: AuditOptions,
    labels: Any,
    run: RunFacts | None,
) -> Summary:
    if run is not None:
        write_run(run, store)
    tally = tally_rows(store, labels)
    sample = read_sample(store.folder)
    is_sample = labels is not None and sample is not None and set(labels) <= set(sample.drawn)
    summary = summarise(
        tally,
        source=source.name,
        model_version=store.judge_version,
        labels=str(options.labels) if options.labels is not None else "labels of the data set",
        strata=sample.sizes if is_sample and sample is not None else None,
        run=read_run(store),
    )
    write_scores(store)
    write_flagged(store, source)
    write_summary(summary, store)
    write_gallery(store, summary, cards=options.gallery)
    return summary
