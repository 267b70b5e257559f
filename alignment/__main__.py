"""`python -m alignment`: train the reference VLM stage by stage, and align any VLM."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from alignment.checkpoint import load_weights
from alignment.data.manifest import ImageSet, read_image_set
from alignment.export import export_delta
from alignment.recipes import SupervisedRecipe, reference_instruct, reference_pretrain
from alignment.supervised import train
from server.errors import SightwardError
from server.vlm.cache import cache_root

if TYPE_CHECKING:
    from alignment.policy_base import PolicyBase
    from alignment.policy_vision import PictureReader

app = App(name="alignment", help="Train and align VLMs, offline.")


@app.command
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
    recipe = _override(reference_pretrain(), steps, seed)
    _say(train(recipe, read_image_set(data), run=run, start={}, cache_root=cache_root()))


@app.command
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
    recipe = _override(reference_instruct(), steps, seed)
    weights = load_weights(start)
    _say(train(recipe, read_image_set(data), run=run, start=weights, cache_root=cache_root()))


@app.command
def sft(
    data: Path,
    *,
    run: Path = Path("runs/sft"),
    model: str | None = None,
    recipe: Literal["reference", "s1"] = "reference",
    steps: int | None = None,
    seed: int = 2024,
) -> None:
    """Baseline: supervised fine-tuning on written answers, with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    run
        Where checkpoints, metrics and the adapter go; an interrupted run goes on.
    model
        A checkpoint folder or hub id of any VLM; the reference VLM by default.
    recipe
        Settings: the reference VLM's, or the paper's for LLaVA-1.5-7B.
    steps
        Overrides the recipe's number of steps.
    seed
        Seed of everything random.
    """
    from alignment import recipes_alignment as recipes
    from alignment.sft import train_sft

    chosen = recipes.s1_sft() if recipe == "s1" else recipes.reference_sft()
    chosen = replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)
    _say(train_sft(chosen, read_image_set(data), run=run, base=_base(model)))


@app.command
def dpo(
    data: Path,
    *,
    run: Path = Path("runs/dpo"),
    model: str | None = None,
    recipe: Literal["reference", "s1"] = "reference",
    steps: int | None = None,
    seed: int = 2024,
) -> None:
    """Baseline: right answers preferred to their opposites (DPO), with TRL.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    run
        Where checkpoints, metrics and the adapter go; an interrupted run goes on.
    model
        A checkpoint folder or hub id of any VLM; the reference VLM by default.
    recipe
        Settings: the reference VLM's, or the paper's for LLaVA-1.5-7B.
    steps
        Overrides the recipe's number of steps.
    seed
        Seed of everything random.
    """
    from alignment import recipes_alignment as recipes
    from alignment.dpo import train_dpo

    chosen = recipes.s1_dpo() if recipe == "s1" else recipes.reference_dpo()
    chosen = replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)
    _say(train_dpo(chosen, read_image_set(data), run=run, base=_base(model)))


@app.command
def ppo(
    data: Path,
    *,
    run: Path = Path("runs/ppo"),
    model: str | None = None,
    recipe: Literal["reference", "s1"] = "reference",
    steps: int | None = None,
    seed: int = 2024,
) -> None:
    """Align by PPO: rewards taken straight from the model's own answers.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl.
    run
        Where checkpoints, metrics and the policy go; an interrupted run goes on.
    model
        A checkpoint folder or hub id of any VLM; the reference VLM by default.
    recipe
        Settings: the reference VLM's, or the paper's for LLaVA-1.5-7B.
    steps
        Overrides the recipe's number of steps.
    seed
        Seed of everything random.
    """
    from alignment.ppo import train_ppo
    from alignment.ppo_recipe import reference_ppo, s1_ppo
    from alignment.responses.rules import RulesClassifier

    chosen = s1_ppo() if recipe == "s1" else reference_ppo()
    chosen = replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)
    images, base = read_image_set(data), _base(model)
    policy = train_ppo(
        chosen,
        images,
        base=base,
        pictures=_pictures(base, images, views=chosen.views, seed=seed),
        classifier=RulesClassifier(),
        run=run,
    )
    _say(policy)


@app.command
def export(run: Path, out: Path) -> None:
    """Write a run's weights as the small bf16 delta that assembly merges into the base.

    Parameters
    ----------
    run
        A finished run of `instruct`.
    out
        The folder to write the delta to.
    """
    _say(export_delta(run, out))


def _override(recipe: SupervisedRecipe, steps: int | None, seed: int) -> SupervisedRecipe:
    return replace(recipe, seed=seed, steps=recipe.steps if steps is None else steps)


def _base(model: str | None) -> "PolicyBase":
    """The model to start from: `model`, or the reference VLM."""
    from alignment.policy_base import load_base
    from server.vlm.assembly import assemble

    return load_base(assemble() if model is None else model)


def _pictures(base: "PolicyBase", images: ImageSet, *, views: int, seed: int) -> "PictureReader":
    """Views of the train split: the reference VLM's from its tower's cache, others as pictures."""
    from alignment.prompt_sampler import ViewReader

    train = images.split("train")
    # Without a train split training is refused; there is nothing to compute for it.
    if not base.is_reference_vlm or not train:
        return ViewReader(images, seed=seed)
    from alignment.features import build_features

    cache = build_features(
        images,
        train,
        root=cache_root(),
        grid=base.model.config.grid,
        views=views,
        seed=seed,
    )
    return cache.open_views().read


def _say(path: Path) -> None:
    print(f"wrote {path}")


def main() -> None:
    """Run the command line; errors raised on purpose are one line, not a traceback."""
    try:
        app()
    except SightwardError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
