"""`python -m alignment ppo`."""

from dataclasses import replace
from pathlib import Path

from alignment.commands.starting import AlignOptions, load_start, read_pictures, say_written
from alignment.data.manifest import read_image_set


def ppo(data: Path, *, options: AlignOptions | None = None) -> None:
    """Align by PPO: rewards taken straight from the model's own answers.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    """
    from alignment.ppo import train_ppo
    from alignment.ppo_recipe import reference_ppo, s1_ppo
    from alignment.responses.rules import RulesClassifier

    options = options or AlignOptions()
    recipe = s1_ppo() if options.recipe == "s1" else reference_ppo()
    steps = recipe.steps if options.steps is None else options.steps
    recipe = replace(recipe, seed=options.seed, steps=steps)
    images, base = read_image_set(data), load_start(options.model)
    policy = train_ppo(
        recipe,
        images,
        base=base,
        pictures=read_pictures(base, images, views=recipe.views, seed=recipe.seed),
        classifier=RulesClassifier(),
        run=options.run or Path("runs/ppo"),
    )
    say_written(policy)
