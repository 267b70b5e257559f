"""``python -m benchmarks replay``: the options, what is printed and written, the exit status."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from benchmarks.load.peer import Contract
from benchmarks.replay.gates import EXIT_GATE, FIGURE_NAMES
from benchmarks.replay.inputs import TextField

_RECORDS = Path("runs/benchmarks")


def replay(
    *,
    url: Annotated[
        str, Parameter(help="Where it listens; `https:` and `/v1` are fine.")
    ] = "http://127.0.0.1:8000",
    data: Annotated[
        str, Parameter(help="`open_set`, which ships, a folder, a hub id, two joined by `+`.")
    ] = "open_set",
    split: Annotated[
        str | None, Parameter(help="`test`, `train`, `all` ... Default: what is held out.")
    ] = None,
    passes: Annotated[int, Parameter(help="How often every picture is sent.")] = 1,
    clients: Annotated[int, Parameter(help="Closed loop: each waits for its answer.")] = 4,
    rate: Annotated[
        float | None, Parameter(help="Open loop: so many due a second, at random (Poisson).")
    ] = None,
    arrivals: Annotated[
        Path | None, Parameter(help="Open loop: times from a log, an audit log or a record.")
    ] = None,
    speed: Annotated[float, Parameter(help="Recorded arrivals so many times as fast.")] = 1.0,
    allow_cache: Annotated[
        bool, Parameter(help="Send files as they are, instead of fresh pixels.", negative="")
    ] = False,
    words: Annotated[
        TextField | None, Parameter(help="Ask about the words for the pictures too.")
    ] = None,
    objective_ms: Annotated[float, Parameter(help="Latency that goodput counts under.")] = 1000.0,
    give_up_s: Annotated[float, Parameter(help="When a request is cancelled.")] = 30.0,
    warm_up: Annotated[int, Parameter(help="Requests first that don't count.")] = 4,
    contract: Annotated[
        Contract | None, Parameter(help="Default: ours where the endpoint says it is ours.")
    ] = None,
    model: Annotated[str | None, Parameter(help="Named in every request.")] = None,
    api_key: Annotated[str | None, Parameter(env_var="OPENAI_API_KEY")] = None,
    fail_if: Annotated[
        list[str] | None,
        Parameter(
            help="E.g. `auc < 0.9 or p95_ms > 500`: then the exit status is "
            f"{EXIT_GATE}. `python -m benchmarks gates` lists the {len(FIGURE_NAMES)} names.",
            negative="",
        ),
    ] = None,
    seed: int = 2024,
    resamples: Annotated[int, Parameter(help="Bootstrap draws for 95% intervals.")] = 1000,
    limit: Annotated[int | None, Parameter(help="So many pictures, at random.")] = None,
    out: Annotated[Path, Parameter(help="Folder for record, page and plots.")] = _RECORDS,
) -> None:
    """Replay a labelled set against a running endpoint: accuracy and latency from one run.

    Exit status: 0, or 1 if it can't be run, or 3 if a --fail-if holds or can't be told.
    """
    from alignment.data.sources import open_image_set
    from benchmarks.load.client_cost import ClientCost, measure_client
    from benchmarks.load.wire import Wire
    from benchmarks.records import write_record
    from benchmarks.replay.config import ReplayConfig
    from benchmarks.replay.gates import gate_values, read_gate
    from benchmarks.replay.page import write_replay_report
    from benchmarks.replay.run import run_replay
    from benchmarks.replay.tables import gate_line, replay_tables
    from benchmarks.tables import show

    gates = [read_gate(expression) for expression in fail_if or ()]
    console = Console()
    config = ReplayConfig(
        url,
        split,
        passes,
        clients,
        rate,
        None if arrivals is None else str(arrivals),
        speed,
        allow_cache,
        words or "none",
        objective_ms,
        give_up_s,
        warm_up,
        contract,
        model,
        seed,
        resamples,
        limit,
    )

    async def client_alone(
        bodies: Sequence[bytes], arrivals_s: Sequence[float] | None
    ) -> ClientCost:
        return await measure_client(bodies, clients=clients, arrivals_s=arrivals_s)

    async def run() -> dict[str, Any]:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # A request is given up by its own deadline, which may be later than the client's.
        async with Wire(url, headers=headers, timeout_s=give_up_s + 60.0) as wire:
            return await run_replay(
                config, open_image_set(data), wire, console=console, measure_client=client_alone
            )

    record = asyncio.run(run())
    path = write_record(record, out)
    files = write_replay_report(path, path.with_suffix(""))
    show(replay_tables(record), console)
    console.print(f"record: {path}\nreport: {files.page}", highlight=False)
    results = [gate.judge(gate_values(record)) for gate in gates]
    for one in results:
        line = gate_line(one.expression, one.because, is_failed=one.is_failed)
        console.print(line, style="red" if one.is_failed else "green", markup=False)
    if any(one.is_failed for one in results):
        sys.exit(EXIT_GATE)


def gates() -> None:
    """The names of figures that `replay --fail-if` knows, one a line."""
    sys.stdout.write("\n".join(FIGURE_NAMES) + "\n")
