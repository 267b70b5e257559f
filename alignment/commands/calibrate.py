"""`python -m alignment calibrate`: make a model's scores mean what they say."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from alignment.commands.starting import say_written
from server.vlm.references import Reference


def calibrate(
    data: Path,
    *,
    out: Path = Path("calibration.json"),
    model: str | None = None,
    reference: Reference | None = None,
    adapter: Path | None = None,
    split: str = "validation",
    words: Literal["concept", "caption", "both", "none"] = "both",
    folds: int = 5,
    resamples: int = 1000,
    seed: int = 2024,
    max_differing: float = 0.02,
    min_precision: float = 0.95,
    head_share: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.5,
) -> None:
    """Fit temperatures and biases for a model's scores, asked exactly as it is served.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    out
        The file to write; `calibration.json` in a checkpoint's or adapter's folder is served.
    model
        A checkpoint folder, hub id or known name of a VLM; the reference VLM by default.
    reference
        Which variant of the reference VLM, instead.
    adapter
        A PEFT adapter for the model.
    split
        What is fitted on, never "test"; "validation" is cut from the train split.
    words
        Which words stand for the pictures; "none" leaves the judgement of words as it is.
    folds
        Cross-fitting: every figure after the fit is of examples it left out.
    resamples
        Bootstrap draws for 95% intervals.
    seed
        Seed of folds and draws.
    max_differing
        Of the pictures that a safety head judges alone, how many may be judged otherwise than by
        the whole model.
    min_precision
        How many of them must be right.
    head_share
        A safety head's share in the score of a picture, for a model with one. It is not fitted:
        where the language model was trained on the pictures that are fitted on, as the reference
        VLM was, its own word would seem to be worth more than it is.
    """
    from rich.console import Console
    from rich.progress import Progress

    from alignment.calibration.calibrate import (
        ask_model,
        calibration_file,
        fit_all,
        fitting_split,
        write_calibration,
    )
    from alignment.calibration.fast_path import SureSettings, ask_head, fit_fast_path
    from alignment.calibration.fast_path_table import fast_path_table
    from alignment.calibration.groups import FitSettings
    from alignment.calibration.tables import calibration_tables
    from alignment.data.manifest import read_image_set
    from server.concepts.probes import load_probes
    from server.serving_engine import make_engine, make_fast_reader
    from server.settings import read_settings

    console = Console()
    sure = SureSettings(max_differing=max_differing, min_precision=min_precision)
    images = fitting_split(read_image_set(data), split)
    settings = read_settings(model=model, reference=reference, adapter=adapter)
    probes = load_probes(settings.probes)
    engine = make_engine(settings)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("answers", total=None)
        asked = asyncio.run(
            ask_model(
                engine,
                probes,
                images,
                words=words,
                on_answer=lambda: progress.advance(task),
                on_planned=lambda count: progress.update(task, total=count),
            )
        )
    fitting = FitSettings(folds=folds, seed=seed, resamples=resamples)
    if engine.card.has_risk:
        asked = asked.pooled(head_share)
    fit = fit_all(asked, fitting)
    fast_path = None
    if engine.card.has_risk:
        items = [answer.item for answer in asked.pictures]
        said = asyncio.run(ask_head(lambda: make_fast_reader(settings), images, items))
        if said is not None:
            judgement = fit.pictures.values.judgement
            fast_path = fit_fast_path(said, asked.pictures, judgement, sure, fitting)
    title = f"{images.name}, {split}: {asked.model_version}"
    for table in calibration_tables(fit, title=title):
        console.print(table)
    if fast_path is not None:
        console.print(fast_path_table(fast_path))
    written = calibration_file(fit, probes, images, split, fitting, fast_path=fast_path)
    write_calibration(written, out)
    say_written(out)
