"""``python -m benchmarks peers``: one command, one table."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from alignment.data.open_set import open_set_folder
from benchmarks.checkpoints import checkpoint_of
from benchmarks.errors import MeasurementError
from benchmarks.peers.installing import FOLDER
from benchmarks.peers.tables import peers_markdown, peers_tables
from benchmarks.progress import current_step
from benchmarks.records import DataOrigin, build_record, hardware, write_record
from benchmarks.tables import show
from server.vlm.references import SPEC as REFERENCE


def peers(
    data: Annotated[
        Path | None, Parameter(help="Folder with a manifest.jsonl; default: the open set.")
    ] = None,
    *,
    model: Annotated[str, Parameter(help="Folder, or `reference[:VARIANT]`.")] = REFERENCE,
    only: Annotated[list[str] | None, Parameter(help="These contenders; default: all.")] = None,
    clients: int = 16,
    rounds: int = 5,
    images: Annotated[int, Parameter(help="Pictures a turn for all clients.")] = 48,
    singles: Annotated[int, Parameter(help="Pictures a turn one at a time.")] = 12,
    longest_side_px: Annotated[int | None, Parameter(help="Scale every picture to this.")] = 288,
    restart: Annotated[
        bool, Parameter(help="One engine in memory at a time, started for each turn.")
    ] = False,
    installed: Annotated[Path, Parameter(help="Where `install-peers` installed.")] = FOLDER,
    split: str = "test",
    seed: int = 2024,
    out: Annotated[Path, Parameter(help="Folder for the record file.")] = Path("runs/benchmarks"),
) -> None:
    """The endpoint beside raw vLLM, vLLM's own server, and other ways of moderating, in turns."""
    from alignment.data.manifest import read_image_set
    from benchmarks.fresh_images import FreshImages
    from benchmarks.peers.line_up import Places, line_up
    from benchmarks.peers.plot import write_peers_plot
    from benchmarks.peers.race import PeersConfig, Race, race_figures, round_rows
    from server.vlm.assembly import assemble

    console = Console()
    image_set = read_image_set(data or open_set_folder())
    examples = image_set.split(split)
    config = PeersConfig(clients, rounds, images, singles, longest_side_px, restart, seed)
    # As many as the longest turn takes, spread over the set: it is ordered by what it shows.
    step = max(1, len(examples) // max(images, clients))
    pictures = FreshImages(
        [image_set.path_of(example) for example in examples[::step]],
        seed=seed,
        longest_side_px=longest_side_px,
    )
    checkpoint = checkpoint_of(model)
    with tempfile.TemporaryDirectory(prefix="sightward-peers-") as scratch:
        places = Places(checkpoint, assemble(reference="safe"), Path(scratch), installed)
        everyone = line_up(places)
        if only:
            unknown = sorted(set(only) - {one.name for one in everyone.contenders})
            if unknown:
                names = ", ".join(one.name for one in everyone.contenders)
                raise MeasurementError(f"no contender {', '.join(unknown)}; there are {names}")
            everyone = everyone.only(tuple(only))
        with current_step(console) as on_step:
            outcome = Race(config, everyone, pictures, on_step=on_step).run()
    record = build_record(
        "peers",
        config=asdict(config),
        data=DataOrigin(image_set.folder.name, image_set.sha256, split, len(examples)),
        model_version=checkpoint.name,
        figures=race_figures(outcome, everyone, cores=hardware()["usable_cores"]),
        measurements=round_rows(outcome.rounds),
    )
    path = write_record(record, out)
    path.with_suffix(".md").write_text(peers_markdown(record), encoding="utf-8")
    write_peers_plot(record, path.with_suffix(".png"))
    show(peers_tables(record), console)
    console.print(f"record: {path}")
