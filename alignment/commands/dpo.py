"""`python -m alignment dpo`: one of S1's two baselines."""

from pathlib import Path

from alignment.commands.starting import (
    AlignOptions,
    choose,
    read_data,
    read_pictures,
    say_written,
)


def dpo(data: str, *, options: AlignOptions | None = None) -> None:
    """Baseline: right answers preferred to their opposites (DPO), with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl, another known source of pictures, or `icon_set`.
    """
    options = options or AlignOptions()
    start = choose(options, lambda recipe: recipe.dpo)
    start.say_memory()
    if options.dry_run:
        return
    images = read_data(data, options.also)
    from alignment.dpo import train_dpo

    run = options.run or Path("runs/dpo")
    base, recipe = start.load(), start.recipe
    pictures = read_pictures(base, images, views=recipe.views, seed=recipe.seed)
    say_written(train_dpo(recipe, images, run=run, base=base, pictures=pictures))
