"""The benchmark `served`: a labelled folder judged through a running endpoint, images then texts.

Texts name concepts that text training may have seen, pictures of the test split are new: the gap
compares what one deployed model says about the same examples, not how well each would generalise.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from alignment.data.manifest import read_image_set
from benchmarks.endpoint import Endpoint
from benchmarks.errors import MeasurementError
from benchmarks.progress import counting_progress
from benchmarks.records import DataOrigin, build_record
from benchmarks.replay.inputs import TextField, replay_images, replay_texts, text_of
from benchmarks.served_figures import Replayed, measure


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """How the replay is run; `limit` takes only the split's first examples (None: all)."""

    url: str
    split: str = "test"
    text: TextField = "concept"
    clients: int = 4
    seed: int = 2024
    resamples: int = 1000
    limit: int | None = None


async def run_served(
    config: ServedConfig, data: Path, endpoint: Endpoint, *, console: Console
) -> dict[str, Any]:
    """Replay, measure, and give the record.

    The model must be the same before and after: a server that was replaced half way has no figures.
    Raises `EndpointError`, `ManifestError` and `MeasurementError`.
    """
    image_set = read_image_set(data)
    examples = image_set.split(config.split)[: config.limit]
    if not examples:
        raise MeasurementError(f"the split {config.split!r} has no examples")
    texts = [text_of(example, config.text) for example in examples]
    model_version = await endpoint.model_version()
    with counting_progress(console) as progress:
        task = progress.add_task("images", total=len(examples))
        by_image = await replay_images(
            endpoint,
            image_set,
            examples,
            clients=config.clients,
            on_answer=lambda: progress.advance(task),
        )
        text_task = progress.add_task("texts", total=len(set(texts)))
        by_text = await replay_texts(
            endpoint,
            texts,
            clients=config.clients,
            on_answer=lambda: progress.advance(text_task),
        )
    if await endpoint.model_version() != model_version:
        raise MeasurementError("the endpoint changed its model during the run")
    replayed = [
        Replayed(example, text, image, by_text[text])
        for example, text, image in zip(examples, texts, by_image, strict=True)
    ]
    figures = measure(replayed, seed=config.seed, resamples=config.resamples)
    return build_record(
        "served",
        config=dataclasses.asdict(config),
        data=DataOrigin(
            name=image_set.folder.name,
            sha256=image_set.sha256,
            split=config.split,
            examples=len(examples),
        ),
        model_version=model_version,
        figures=dataclasses.asdict(figures),
        measurements=[
            {
                "id": one.example.id,
                "label": one.example.label,
                "text": one.text,
                "image": dataclasses.asdict(one.by_image),
                "by_text": dataclasses.asdict(one.by_text),
            }
            for one in replayed
        ],
    )
