"""`python -m alignment sft`: one of S1's two baselines."""

from pathlib import Path

from alignment.commands.starting import (
    AlignOptions,
    choose,
    read_data,
    read_pictures,
    say_written,
)


def sft(data: str, *, options: AlignOptions | None = None) -> None:
    """Baseline: supervised fine-tuning on written answers, with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl, another known source of pictures, or `icon_set`.
    """
    options = options or AlignOptions()
    start = choose(options, lambda recipe: recipe.sft)
    start.say_memory()
    if options.dry_run:
        return
    images = read_data(data, options.also)
    from alignment.sft import train_sft

    run = options.run or Path("runs/sft")
    base, recipe = start.load(), start.recipe
    pictures = read_pictures(base, images, views=recipe.views, seed=recipe.seed)
    say_written(train_sft(recipe, images, run=run, base=base, pictures=pictures))
