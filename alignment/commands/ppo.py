"""`python -m alignment ppo`."""

from pathlib import Path

from alignment.commands.starting import AlignOptions, choose, read_pictures, say_written


def ppo(
    data: Path, *, options: AlignOptions | None = None, max_new_tokens: int | None = None
) -> None:
    """Align by PPO: rewards taken straight from the model's own answers.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    max_new_tokens
        Longest answer.
    """
    from alignment.data.manifest import read_image_set

    options = options or AlignOptions()
    start = choose(options, lambda recipe: recipe.ppo, max_new_tokens=max_new_tokens)
    start.say_memory()
    if options.dry_run:
        return
    images = read_image_set(data)
    from alignment.ppo import train_ppo
    from alignment.responses.rules import RulesClassifier

    base, recipe = start.load(), start.recipe
    policy = train_ppo(
        recipe,
        images,
        base=base,
        pictures=read_pictures(base, images, views=recipe.views, seed=recipe.seed),
        classifier=RulesClassifier(),
        run=options.run or Path("runs/ppo"),
    )
    say_written(policy)
