"""``python -m benchmarks faults``: the whole matrix, or some of it, as one command."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from benchmarks.faults.goals import FaultReport
from benchmarks.faults.matrix import chosen, is_missed, run_matrix
from benchmarks.faults.service import EngineKind
from benchmarks.faults.stand import FaultsConfig
from benchmarks.faults.tables import faults_markdown, faults_tables
from benchmarks.records import write_record
from benchmarks.tables import show

_EXIT_MISSED = 1


def faults(
    *,
    only: Annotated[list[str] | None, Parameter(help="These faults; default: all.")] = None,
    seconds: Annotated[float, Parameter(help="How long the overload lasts; others a share.")] = 60,
    engine: Annotated[EngineKind, Parameter(help="`stub`: a quick look, no model.")] = "real",
    clients: int = 16,
    kills: Annotated[int, Parameter(help="How often the engine is killed.")] = 3,
    overload: Annotated[float, Parameter(help="How many times capacity is sent.")] = 4.0,
    deadline_s: Annotated[float, Parameter(help="What overloaded requests name.")] = 10.0,
    seed: int = 2024,
    out: Annotated[Path, Parameter(help="Folder for the record file.")] = Path("runs/benchmarks"),
) -> None:
    """Break what is around the service, piece by piece, and see what holds.

    Starts the service itself. Ends with 1 if any goal was missed.
    """
    console = Console()
    config = FaultsConfig(engine, seconds, clients, kills, overload, deadline_s, seed)
    picked = chosen(only or ())
    with console.status("") as status:

        def on_report(report: FaultReport) -> None:
            console.print(f"{report.verdict:8} {report.title} ({report.seconds:.0f} s)")

        record = run_matrix(
            config, picked, on_start=lambda what: status.update(what), on_report=on_report
        )
    path = write_record(record, out)
    show(faults_tables(record), console)
    path.with_suffix(".md").write_text(faults_markdown(record), encoding="utf-8")
    console.print(f"record: {path}")
    if is_missed(record):
        sys.exit(_EXIT_MISSED)
