"""`python -m alignment sft`: one of S1's two baselines."""

from pathlib import Path

from alignment.commands.starting import AlignOptions, choose, say_written


def sft(data: Path, *, options: AlignOptions | None = None) -> None:
    """Baseline: supervised fine-tuning on written answers, with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    """
    from alignment.data.manifest import read_image_set

    options = options or AlignOptions()
    start = choose(options, lambda recipe: recipe.sft)
    start.say_memory()
    if options.dry_run:
        return
    images = read_image_set(data)
    from alignment.sft import train_sft

    run = options.run or Path("runs/sft")
    say_written(train_sft(start.recipe, images, run=run, base=start.load()))
