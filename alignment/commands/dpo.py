"""`python -m alignment dpo`: one of S1's two baselines."""

from pathlib import Path

from alignment.commands.starting import AlignOptions, choose, say_written


def dpo(data: Path, *, options: AlignOptions | None = None) -> None:
    """Baseline: right answers preferred to their opposites (DPO), with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    """
    from alignment.data.manifest import read_image_set

    options = options or AlignOptions()
    start = choose(options, lambda recipe: recipe.dpo)
    start.say_memory()
    if options.dry_run:
        return
    images = read_image_set(data)
    from alignment.dpo import train_dpo

    run = options.run or Path("runs/dpo")
    say_written(train_dpo(start.recipe, images, run=run, base=start.load()))
