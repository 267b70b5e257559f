"""The command line: ``python -m benchmarks COMMAND``; each measures, or shows what was measured."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.capabilities.cli import capabilities
from benchmarks.capabilities.run import RECORD_NAME
from benchmarks.checkpoints import checkpoint_of
from benchmarks.cost.command import cost
from benchmarks.endpoint import Endpoint
from benchmarks.errors import MeasurementError
from benchmarks.faults.command import faults
from benchmarks.faults.service import EngineKind
from benchmarks.load.capacity_command import find_capacity
from benchmarks.peers.command import peers
from benchmarks.peers.installing import install_peers
from benchmarks.records import write_record
from benchmarks.replay.command import gates, replay
from benchmarks.replay.inputs import TextField
from benchmarks.suite import run_all
from benchmarks.tables import cache_tables, served_tables, show
from server.errors import SightwardError
from server.telemetry import quiet_libraries
from server.vlm.references import SPEC as REFERENCE
from server.vlm.references import reference_named

_RECORDS = Path("runs/benchmarks")

app = App(
    name="benchmarks",
    help="Measure a VLM or a running endpoint; every run writes one record file.",
)
app.command(capabilities)
app.command(faults)
app.command(replay)
app.command(gates)
app.command(find_capacity)
app.command(peers)
app.command(cost)
app.command(run_all, name="all")
app.command(install_peers)


@app.command
def report(
    runs: Annotated[list[Path], Parameter(help="Runs' folders or records, side by side.")],
    *,
    out: Annotated[Path | None, Parameter(help="Default: `report` beside the first run.")] = None,
    data: Annotated[Path | None, Parameter(help="The pictures' folder, for thumbnails.")] = None,
    blur: Annotated[bool, Parameter(help="Blur thumbnails until they are clicked.")] = True,
) -> None:
    """Draw one HTML page and plots from `capabilities` runs, or from one `replay` record."""
    from benchmarks.replay.record import is_replay
    from benchmarks.report.write import write_report

    if any(is_replay(run) for run in runs):
        from benchmarks.replay.page import write_replay_report

        if len(runs) > 1:
            raise MeasurementError("a page shows one replay; `compare` holds two side by side")
        drawn = write_replay_report(runs[0], out or runs[0].with_suffix(""))
        for path in (drawn.page, *drawn.plots):
            print(path)
        return
    first = runs[0] if runs[0].is_dir() else runs[0].parent
    files = write_report(runs, out or first / "report", data=data, blur=blur)
    for path in (files.page, files.markdown, *files.plots):
        print(path)


@app.command
def compare(
    a: Path,
    b: Path,
    *,
    seed: int = 2024,
    resamples: Annotated[int, Parameter(help="Bootstrap draws and random swaps.")] = 1000,
) -> None:
    """Whether two `capabilities` runs, or two `replay` records, differ or only seem to."""
    from benchmarks.compare import run_compare
    from benchmarks.replay.record import is_replay

    if is_replay(a) or is_replay(b):
        from benchmarks.replay.compare import run_compare_replays

        run_compare_replays(a, b, Console(), seed=seed, resamples=resamples)
        return
    run_compare(_record(a), _record(b), Console(), seed=seed, resamples=resamples)


@app.command
def models() -> None:
    """The VLMs that are known by name, and which of them can run on this machine."""
    from benchmarks.models import models_table
    from server.engine.model_registry import load_registry
    from server.engine.model_requirements import measure_machine

    Console().print(models_table(load_registry(), measure_machine()))


@app.command
def served(
    data: Annotated[Path, Parameter(help="Folder with a manifest.jsonl.")],
    *,
    url: Annotated[str, Parameter(help="Where the server listens.")] = "http://127.0.0.1:8000",
    split: str = "test",
    text: Annotated[TextField, Parameter(help="Which words stand for a picture.")] = "concept",
    clients: int = 4,
    seed: int = 2024,
    resamples: Annotated[int, Parameter(help="Bootstrap draws for 95% intervals.")] = 1000,
    limit: Annotated[int | None, Parameter(help="Only the first examples.")] = None,
    api_key: Annotated[str | None, Parameter(env_var="OPENAI_API_KEY")] = None,
    out: Annotated[Path, Parameter(help="Folder for the record file.")] = _RECORDS,
) -> None:
    """Judge a labelled folder through HTTP: every image, then every text about one."""
    from benchmarks.served import ServedConfig, run_served

    console = Console()
    config = ServedConfig(url, split, text, clients, seed, resamples, limit)

    async def run() -> dict[str, Any]:
        async with Endpoint(url, api_key=api_key) as endpoint:
            return await run_served(config, data, endpoint, console=console)

    record = asyncio.run(run())
    _finish(record, served_tables(record), out, console)


@app.command
def cache(
    *,
    engine: Annotated[EngineKind, Parameter(help="`stub`: a quick look, no model.")] = "real",
    clients: int = 8,
    rounds: int = 5,
    repeats: Annotated[int, Parameter(help="How often a round sends one picture.")] = 4000,
    fresh: Annotated[int, Parameter(help="Pictures a round that are new.")] = 48,
    seed: int = 2024,
    out: Annotated[Path, Parameter(help="Folder for the record file.")] = _RECORDS,
) -> None:
    """One picture again and again, its scores cached in memory and in Redis."""
    from benchmarks.cache import CacheConfig, run_cache

    console = Console()
    config = CacheConfig(engine, clients, rounds, repeats, fresh, seed)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rounds", total=rounds + 1)
        record = run_cache(config, on_round=lambda: progress.advance(task))
    _finish(record, cache_tables(record), out, console)


@app.command
def cascade(
    data: Annotated[Path, Parameter(help="Folder with a manifest.jsonl.")],
    *,
    model: Annotated[str, Parameter(help="Folder, or `reference[:VARIANT]`.")] = REFERENCE,
    policy: Annotated[Path | None, Parameter(help="Policy file instead of the shipped.")] = None,
    split: str = "test",
    share: Annotated[
        tuple[float, ...], Parameter(help="Shares of pictures for the head alone.", negative="")
    ] = (0.25, 0.5, 0.75, 0.9, 1.0),
    clients: int = 16,
    decode_threads: int = 2,
    rounds: int = 3,
    images: Annotated[int, Parameter(help="Pictures a point and round.")] = 96,
    seed: int = 2024,
    resamples: Annotated[int, Parameter(help="Bootstrap draws for 95% intervals.")] = 1000,
    limit: Annotated[int | None, Parameter(help="So many pictures, at random.")] = None,
    out: Annotated[Path, Parameter(help="Folder for the record and its plot.")] = _RECORDS,
) -> None:
    """The safety head first against the full path: throughput, AUC and balanced accuracy."""
    from benchmarks.cascade import CascadeConfig, run_cascade
    from benchmarks.cascade_plot import write_cascade_plot
    from benchmarks.cascade_tables import cascade_tables
    from server.concepts.policy_book import load_policy
    from server.concepts.probes import load_probes
    from server.serving_engine import make_engine, make_fast_reader
    from server.settings import read_settings

    console = Console()
    settings = read_settings(model=model, policy=policy)
    config = CascadeConfig(
        split, share, clients, decode_threads, rounds, images, seed, resamples, limit
    )
    record = asyncio.run(
        run_cascade(
            config,
            data,
            make_engine(settings),
            lambda: make_fast_reader(settings),
            probes=load_probes(settings.probes),
            policy=load_policy(settings.policy),
            console=console,
        )
    )
    path = _finish(record, cascade_tables(record), out, console)
    plot = path.with_suffix(".png")
    write_cascade_plot(record, plot)
    console.print(f"plot: {plot}")


@app.command(name="ppo-step")
def ppo_step(
    *,
    model: Annotated[str, Parameter(help="Folder, hub id, or `reference[:VARIANT]`.")] = REFERENCE,
    recipe: Annotated[str, Parameter(help="Whose PPO; `python -m alignment recipes`.")] = REFERENCE,
    rounds: int = 5,
    drawings: Annotated[int, Parameter(help="Generated pictures to ask about.")] = 96,
    max_new_tokens: Annotated[int | None, Parameter(help="Overrides the recipe's.")] = None,
    micro_batch_size: Annotated[int | None, Parameter(help="Overrides the recipe's.")] = None,
    device: Annotated[str | None, Parameter(help="Default: the GPU where there is one.")] = None,
    dtype: str | None = None,
    seed: int = 2024,
    out: Annotated[Path, Parameter(help="Folder for the record file.")] = _RECORDS,
) -> None:
    """A PPO step as it is made here and as most would write it, in turns, in one process."""
    from benchmarks.ppo_step.run import PpoStepConfig, ppo_step_record
    from benchmarks.ppo_step.tables import ppo_step_tables

    console = Console()
    reference = reference_named(model)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rounds", total=rounds + 1)
        record = ppo_step_record(
            PpoStepConfig(rounds, drawings, seed, max_new_tokens, micro_batch_size),
            model if reference is None else checkpoint_of(model),
            recipe=recipe,
            device=device,
            dtype=dtype,
            on_round=lambda: progress.advance(task),
        )
    _finish(record, ppo_step_tables(record), out, console)


@app.command
def robustness(
    data: Annotated[Path, Parameter(help="Folder with a manifest.jsonl.")],
    *,
    model: Annotated[str | None, Parameter(help="What to serve (default: the reference).")] = None,
    url: Annotated[str | None, Parameter(help="A running server, instead of a model.")] = None,
    split: str = "test",
    threshold: Annotated[float, Parameter(help="Where the verdict turns.")] = 0.5,
    margin: Annotated[float, Parameter(help="How far from it a flip is serious.")] = 0.1,
    clients: int = 8,
    seed: int = 2024,
    resamples: Annotated[int, Parameter(help="Bootstrap draws for 95% intervals.")] = 1000,
    limit: Annotated[int | None, Parameter(help="So many pictures, at random.")] = None,
    api_key: Annotated[str | None, Parameter(env_var="OPENAI_API_KEY")] = None,
    out: Annotated[Path, Parameter(help="Folder for the record file.")] = _RECORDS,
) -> None:
    """Whether a verdict survives saving the picture anew, resizing, cropping and the like."""
    from benchmarks.robustness import RobustnessConfig, run_robustness, serve_and_run
    from benchmarks.robustness_tables import robustness_tables

    console = Console()
    config = RobustnessConfig(split, threshold, margin, clients, seed, resamples, limit)
    if url is None:
        record = serve_and_run(config, data, model, console=console)
    elif model is not None:
        raise MeasurementError("a running server has its model; give --url or --model")
    else:

        async def run() -> dict[str, Any]:
            async with Endpoint(url, api_key=api_key) as endpoint:
                return await run_robustness(config, data, endpoint, console=console)

        record = asyncio.run(run())
    _finish(record, robustness_tables(record), out, console)


@app.command
def histograms(
    records: Annotated[list[Path], Parameter(help="Records of `served`, drawn side by side.")],
    *,
    out: Annotated[Path, Parameter(help="The picture to write.")] = Path("p-unsafe.png"),
    name: Annotated[list[str] | None, Parameter(help="What to call each record.")] = None,
) -> None:
    """Draw how P(unsafe) is spread over safe and unsafe examples, e.g. before and after."""
    from benchmarks.histograms import write_histograms

    write_histograms(records, out, names=name)
    print(out)


def _record(run: Path) -> Path:
    return run / RECORD_NAME if run.is_dir() else run


def _finish(record: Mapping[str, Any], tables: list[Table], out: Path, console: Console) -> Path:
    path = write_record(record, out)
    show(tables, console)
    console.print(f"record: {path}")
    return path


def main() -> None:
    """Run the command; what can't be measured is said in one line."""
    quiet_libraries()
    # As an exception, so that the processes a benchmark has started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except SightwardError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
