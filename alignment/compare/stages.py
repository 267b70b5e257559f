"""[S2]'s stages as methods of a comparison, on the reference VLM.

Stage 1 trains modules on the base that all methods share; the checkpoint with them is the base of
stage 2, and of PPO after it.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignment.compare.orders import RunOrder
from alignment.recipes_after_sft import after_sft
from alignment.safety.registry import SAFETY_RECIPES, safety_recipe_named
from server.errors import SightwardError

if TYPE_CHECKING:
    from alignment.ppo_recipe import PpoRecipe
    from alignment.recipe_book.model_recipe import ModelRecipe
    from alignment.recipes_alignment import SftRecipe
    from alignment.safety.recipes import SafetyRecipe, StageOneRecipe


class NoStagesError(SightwardError):
    """A comparison of a recipe whose model can't be compared by its stages."""

    def __init__(self, recipe: str) -> None:
        super().__init__(
            f"the safety stages are compared on the reference VLM only, not by recipe {recipe!r}; "
            "leave stage1, stage2 and stages-ppo out of --methods"
        )
        self.recipe = recipe


def stages_of(recipe: str) -> "SafetyRecipe":
    """Both stages of the comparison's recipe. Raises NoStagesError."""
    if recipe not in SAFETY_RECIPES:
        raise NoStagesError(recipe)
    stages = safety_recipe_named(recipe, "learned")
    if stages.model is not None:
        raise NoStagesError(recipe)
    return stages


def stage_one_recipe(recipe: str, *, seed: int, steps: int | None) -> "StageOneRecipe":
    """Stage 1 with another seed and number of steps. Raises NoStagesError."""
    chosen = stages_of(recipe).stage1
    return replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)


def stage_two_sft(recipe: str, *, seed: int, steps: int | None) -> "SftRecipe":
    """The fine-tuning of stage 2 with another seed and number of steps. Raises NoStagesError."""
    chosen = stages_of(recipe).stage2.sft
    return replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)


def ppo_after_stages(whole: "ModelRecipe") -> "PpoRecipe":
    """PPO that begins where stage 2 ended, in the manner of PPO after SFT. Raises NoStagesError."""
    stages_of(whole.name)
    return replace(after_sft(whole.ppo), name=f"{whole.name}-stages-ppo")


def train_stage_one(order: RunOrder) -> None:
    """Train the modules to their end; a run that has ended is left as it is."""
    from alignment.commands.starting import read_data, read_pictures
    from alignment.policy_base import load_base
    from alignment.safety import stage_one
    from alignment.safety.guarding import digest_of, fresh_modules, guard, shape_of

    recipe = stage_one_recipe(order.recipe, seed=order.seed, steps=order.steps)
    images = read_data(str(order.data))
    base = load_base(order.model, dtype=stages_of(order.recipe).dtype)
    shape = shape_of(recipe.modules, base, learns_concepts=recipe.concept_weight > 0)
    guarded = guard(
        base,
        fresh_modules(shape, seed=order.seed),
        pictures=read_pictures(base, images, views=recipe.views, seed=order.view_seed),
        length_multiple=recipe.length_multiple,
    )
    stage_one.train_stage_one(
        recipe, images, guarded=guarded, base_digest=digest_of(guarded), run=order.run
    )


def train_stage_two(order: RunOrder) -> None:
    """Train what answers by hints, on the modules of the same seed."""
    from alignment.commands.starting import read_data, read_pictures
    from alignment.policy_base import load_base
    from alignment.safety import stage_two
    from alignment.safety.runs import read_stage_one

    model = guarded_model(order)
    stages = stages_of(order.recipe)
    sft = stage_two_sft(order.recipe, seed=order.seed, steps=order.steps)
    images = read_data(str(order.data))
    base = load_base(model, dtype=stages.dtype)
    stage_two.train_stage_two(
        replace(stages.stage2, sft=sft),
        images,
        base=base,
        modules=read_stage_one(order.of("stage1").run).path,
        pictures=read_pictures(base, images, views=sft.views, seed=order.view_seed),
        run=order.run,
    )


def guarded_model(order: RunOrder) -> str:
    """The base with the modules of the order's seed, which are trained where they aren't yet."""
    from alignment.safety.runs import assembled_stage_one

    modules = order.of("stage1")
    train_stage_one(modules)
    return str(assembled_stage_one(modules.run))


def copy_whole(checkpoint: Path, folder: Path) -> None:
    """A checkpoint under another name, there whole or not at all."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    partial.rename(folder)
