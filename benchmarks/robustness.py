"""The benchmark `robustness`: the same pictures, changed in ways that don't matter, through HTTP.

Whoever can turn a verdict by saving a picture anew needs no attack. The control sends the decoded
pixels as they are: what it shows is the noise of serving itself, below which no change can get.
"""

import asyncio
import dataclasses
import mimetypes
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from alignment.data.manifest import Example, ImageSet, read_image_set
from benchmarks.clients import work_through
from benchmarks.endpoint import Endpoint, Judged
from benchmarks.errors import MeasurementError
from benchmarks.image_changes import Change, EncodedImage, changes
from benchmarks.processes.http import ServerProcess
from benchmarks.progress import counting_progress
from benchmarks.records import DataOrigin, build_record
from benchmarks.robustness_figures import Perturbed, measure_robustness


@dataclass(frozen=True, slots=True)
class RobustnessConfig:
    """How pictures are chosen and flips are counted.

    `limit` takes so many pictures at random (None: all). A picture is beyond the margin where its
    P(unsafe) before the change is further than `margin` from `threshold`.
    """

    split: str = "test"
    threshold: float = 0.5
    margin: float = 0.1
    clients: int = 8
    seed: int = 2024
    resamples: int = 1000
    limit: int | None = None


def serve_and_run(
    config: RobustnessConfig, data: Path, model: str | None, *, console: Console
) -> dict[str, Any]:
    """Serve `model` (None: the reference) for as long as it takes, measure, and give the record.

    Raises `ProcessError` and what `run_robustness` lists.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sightward-robustness-") as scratch,
        ServerProcess(Path(scratch) / "server.log", model=model) as server,
    ):
        server.wait_until_ready()
        return asyncio.run(_against(server.url, config, data, console))


async def _against(
    url: str, config: RobustnessConfig, data: Path, console: Console
) -> dict[str, Any]:
    async with Endpoint(url) as endpoint:
        return await run_robustness(config, data, endpoint, console=console)


async def run_robustness(
    config: RobustnessConfig, data: Path, endpoint: Endpoint, *, console: Console
) -> dict[str, Any]:
    """Judge every picture as it is and after every change, and give the record.

    Raises `EndpointError`, `ManifestError`, `PictureFileError` and `MeasurementError`.
    """
    image_set = read_image_set(data)
    examples = _chosen(image_set.split(config.split), config)
    if not examples:
        raise MeasurementError(f"the split {config.split!r} has no examples")
    made = changes()
    model_version = await endpoint.model_version()
    asked = [(example, change) for example in examples for change in (None, *made)]

    async def ask(one: tuple[Example, Change | None]) -> Judged:
        encoded = await asyncio.to_thread(_encode, image_set, *one)
        return await endpoint.judge_image(encoded.data, media_type=encoded.media_type)

    with counting_progress(console) as progress:
        task = progress.add_task("pictures", total=len(asked))
        judged = await work_through(
            asked, ask, clients=config.clients, on_answer=lambda: progress.advance(task)
        )
    if await endpoint.model_version() != model_version:
        raise MeasurementError("the endpoint changed its model during the run")
    p_unsafe = np.array(
        [np.nan if one.p_unsafe is None else one.p_unsafe for one in judged], dtype=np.float64
    ).reshape(len(examples), 1 + len(made))
    figures = measure_robustness(
        Perturbed(
            groups=[f"group {one.group}" if one.group else f"example {one.id}" for one in examples],
            names=[change.name for change in made],
            is_control=[change.is_control for change in made],
            before=p_unsafe[:, 0],
            after=p_unsafe[:, 1:],
        ),
        threshold=config.threshold,
        margin=config.margin,
        seed=config.seed,
        resamples=config.resamples,
    )
    return build_record(
        "robustness",
        config=dataclasses.asdict(config),
        data=DataOrigin(
            name=image_set.name,
            sha256=image_set.sha256,
            split=config.split,
            examples=len(examples),
        ),
        model_version=model_version,
        figures=dataclasses.asdict(figures),
        measurements=[
            {
                "id": example.id,
                "label": example.label,
                "p_unsafe": {
                    name: None if np.isnan(p) else float(p)
                    for name, p in zip(
                        ("original", *(change.name for change in made)), row, strict=True
                    )
                },
            }
            for example, row in zip(examples, p_unsafe, strict=True)
        ],
    )


def _chosen(examples: Sequence[Example], config: RobustnessConfig) -> Sequence[Example]:
    """At random, since manifests are often sorted by label."""
    if config.limit is None or config.limit >= len(examples):
        return examples
    return random.Random(config.seed).sample(examples, config.limit)  # noqa: S311 - no secret


def _encode(image_set: ImageSet, example: Example, change: Change | None) -> EncodedImage:
    if change is not None:
        return change.apply(image_set.open(example))
    path = image_set.path_of(example)
    return EncodedImage(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "image/jpeg")
