"""``python -m benchmarks cost``: what a verdict costs, and how that grows."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from alignment.data.open_set import open_set_folder
from benchmarks.cost.points import SWEEPS, Sweep
from benchmarks.progress import current_step
from benchmarks.records import DataOrigin, build_record, write_record
from benchmarks.tables import show

_PICTURES = 24


def cost(
    data: Annotated[
        Path | None, Parameter(help="Folder with a manifest.jsonl; default: the open set.")
    ] = None,
    *,
    sweep: Annotated[list[Sweep] | None, Parameter(help="These; default: all.")] = None,
    rounds: int = 3,
    split: str = "test",
    seed: int = 2024,
    out: Annotated[Path, Parameter(help="Folder for the record.")] = Path("runs/benchmarks"),
) -> None:
    """Throughput and latency against picture size, pictures a call, clients, cores, text length."""
    from alignment.data.manifest import read_image_set
    from benchmarks.cost.plot import write_cost_plot
    from benchmarks.cost.run import CostConfig, cost_figures, run_cost
    from benchmarks.cost.tables import cost_markdown, cost_tables
    from server.vlm.assembly import assemble
    from server.vlm.references import DEFAULT_REFERENCE

    console = Console()
    image_set = read_image_set(data or open_set_folder())
    examples = image_set.split(split)
    paths = [image_set.path_of(one) for one in examples[:: max(1, len(examples) // _PICTURES)]]
    checkpoint = assemble(reference=DEFAULT_REFERENCE)
    config = CostConfig(tuple(sweep or SWEEPS), rounds, seed)
    with current_step(console) as on_step:
        found = run_cost(config, paths, str(checkpoint), on_step=on_step)
    record = build_record(
        "cost",
        config=asdict(config),
        data=DataOrigin(image_set.folder.name, image_set.sha256, split, len(examples)),
        model_version=checkpoint.name,
        figures={"points": cost_figures(found)},
        measurements=[[asdict(one) for one in point.costs] for point in found],
    )
    path = write_record(record, out)
    path.with_suffix(".md").write_text(cost_markdown(record), encoding="utf-8")
    write_cost_plot(record, path.with_suffix(".png"))
    show(cost_tables(record), console)
    console.print(f"record: {path}")
