"""`python -m alignment pretrain` and `instruct`: the reference VLM's two supervised stages."""

from dataclasses import replace
from pathlib import Path

from alignment.commands.starting import say_written
from alignment.recipes import SupervisedRecipe, reference_instruct, reference_pretrain


def pretrain(
    data: Path, *, run: Path = Path("runs/pretrain"), steps: int | None = None, seed: int = 2024
) -> None:
    """Stage 1: the projector learns captions.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    run
        Where checkpoints, metrics and weights go; an interrupted run goes on.
    steps
        Overrides the recipe's number of steps.
    seed
        Seed of everything random.
    """
    from alignment.data.manifest import read_image_set
    from alignment.supervised import train
    from server.vlm.cache import cache_root

    recipe = _override(reference_pretrain(), steps, seed)
    say_written(train(recipe, read_image_set(data), run=run, start={}, cache_root=cache_root()))


def instruct(
    data: Path,
    *,
    start: Path = Path("runs/pretrain"),
    run: Path = Path("runs/instruct"),
    steps: int | None = None,
    seed: int = 2024,
) -> None:
    """Stage 2: instructions, judging words, recognition.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    start
        The run of stage 1.
    run
        Where checkpoints, metrics and weights go; an interrupted run goes on.
    steps
        Overrides the recipe's number of steps.
    seed
        Seed of everything random.
    """
    from alignment.checkpoint import load_weights
    from alignment.data.manifest import read_image_set
    from alignment.supervised import train
    from server.vlm.cache import cache_root

    recipe = _override(reference_instruct(), steps, seed)
    weights = load_weights(start)
    images = read_image_set(data)
    say_written(train(recipe, images, run=run, start=weights, cache_root=cache_root()))


def _override(recipe: SupervisedRecipe, steps: int | None, seed: int) -> SupervisedRecipe:
    return replace(recipe, seed=seed, steps=recipe.steps if steps is None else steps)
