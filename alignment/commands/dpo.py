"""`python -m alignment dpo`: one of S1's two baselines."""

from dataclasses import replace
from pathlib import Path

from alignment.commands.starting import AlignOptions, load_start, say_written
from alignment.data.manifest import read_image_set


def dpo(data: Path, *, options: AlignOptions | None = None) -> None:
    """Baseline: right answers preferred to their opposites (DPO), with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    """
    from alignment.dpo import train_dpo
    from alignment.recipes_alignment import reference_dpo, s1_dpo

    options = options or AlignOptions()
    recipe = s1_dpo() if options.recipe == "s1" else reference_dpo()
    steps = recipe.steps if options.steps is None else options.steps
    recipe = replace(recipe, seed=options.seed, steps=steps)
    say_written(
        train_dpo(
            recipe,
            read_image_set(data),
            run=options.run or Path("runs/dpo"),
            base=load_start(options.model),
        )
    )
