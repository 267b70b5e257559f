"""`python -m alignment sft`: one of S1's two baselines."""

from dataclasses import replace
from pathlib import Path

from alignment.commands.starting import AlignOptions, load_start, say_written
from alignment.data.manifest import read_image_set


def sft(data: Path, *, options: AlignOptions | None = None) -> None:
    """Baseline: supervised fine-tuning on written answers, with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    """
    from alignment.recipes_alignment import reference_sft, s1_sft
    from alignment.sft import train_sft

    options = options or AlignOptions()
    recipe = s1_sft() if options.recipe == "s1" else reference_sft()
    steps = recipe.steps if options.steps is None else options.steps
    recipe = replace(recipe, seed=options.seed, steps=steps)
    say_written(
        train_sft(
            recipe,
            read_image_set(data),
            run=options.run or Path("runs/sft"),
            base=load_start(options.model),
        )
    )
