"""``python -m benchmarks find-capacity``: the options, and what is printed and written."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

_NOTHING_HOLDS = 1


def find_capacity(
    *,
    url: Annotated[str, Parameter(help="Where it listens.")] = "http://127.0.0.1:8000",
    data: Annotated[
        str, Parameter(help="`open_set`, which ships, a folder, a hub id.")
    ] = "open_set",
    p95_ms: Annotated[float, Parameter(help="What p95 of answers must keep.")] = 1000.0,
    unanswered: Annotated[
        float, Parameter(help="The share that may be refused, in error or cancelled.")
    ] = 0.01,
    start: Annotated[float, Parameter(help="The first rate, requests a second.")] = 4.0,
    highest: Annotated[float, Parameter(help="No rate above this one.")] = 2000.0,
    seconds: Annotated[float, Parameter(help="Counted in each trial.")] = 20.0,
    settle_s: Annotated[float, Parameter(help="Before that, not counted.")] = 3.0,
    precision: Annotated[float, Parameter(help="How close the failing rate must come.")] = 0.1,
    confirmations: Annotated[int, Parameter(help="How often the answer must hold again.")] = 2,
    trials: Annotated[int, Parameter(help="At most so many.")] = 30,
    give_up_s: Annotated[float, Parameter(help="When a request is cancelled.")] = 10.0,
    model: Annotated[str | None, Parameter(help="Named in every request.")] = None,
    api_key: Annotated[str | None, Parameter(env_var="OPENAI_API_KEY")] = None,
    seed: int = 2024,
    out: Annotated[Path, Parameter(help="Folder for record and plot.")] = Path("runs/benchmarks"),
) -> None:
    """The highest rate that keeps p95 and refusals within limits; prints the curve.

    Exit status: 0, or 1 where no rate holds or nothing can be measured.
    """
    from alignment.data.sources import open_image_set
    from benchmarks.load.capacity import CapacityConfig, run_capacity
    from benchmarks.load.capacity_search import CapacityLimits, SearchPlan, Trial
    from benchmarks.load.capacity_tables import capacity_tables, write_capacity_plot
    from benchmarks.load.peer import find_peer
    from benchmarks.load.wire import Wire
    from benchmarks.records import write_record
    from benchmarks.tables import show

    console = Console()
    limits = CapacityLimits(p95_ms, unanswered)
    config = CapacityConfig(
        url,
        limits,
        SearchPlan(
            start_per_s=start,
            highest_per_s=highest,
            precision=precision,
            confirmations=confirmations,
            trials=trials,
        ),
        seconds,
        settle_s,
        give_up_s,
        model,
        seed,
    )

    def tell(trial: Trial) -> None:
        p95 = "no answer" if trial.latency_ms is None else f"p95 {trial.latency_ms.p95:.0f} ms"
        lost = f"{trial.refused_share + trial.failed_share:.1%} not answered"
        word = "holds" if trial.holds(limits) else "fails"
        console.print(f"{trial.rate_per_s:8.2f}/s {word}: {p95}, {lost}", highlight=False)

    async def run() -> dict[str, Any]:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        async with Wire(url, headers=headers, timeout_s=give_up_s + 60.0) as wire:
            peer = await find_peer(wire, url)
            return await run_capacity(
                config,
                open_image_set(data),
                wire,
                model_version=peer.model_version or model or "unknown",
                with_detail=peer.contract == "sightward",
                on_trial=tell,
            )

    record = asyncio.run(run())
    path = write_record(record, out)
    plot = path.with_suffix(".png")
    write_capacity_plot(record, plot)
    show(capacity_tables(record), console)
    console.print(f"record: {path}\nplot: {plot}", highlight=False)
    if record["figures"]["rate_per_s"] is None:
        sys.exit(_NOTHING_HOLDS)
