"""One run of a comparison: train by a method, then merge into a checkpoint that can be measured.

It is the program ``python -m alignment.compare``, a process a run, so that no run inherits another
one's memory, generators or crash. Both halves go on where they were.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from alignment.compare import stages
from alignment.compare.orders import RunOrder
from alignment.compare.plan import STAGES, Method
from alignment.policy_start import Start, read_start
from alignment.ppo_recipe import PpoRecipe
from alignment.recipe_book.model_recipe import ModelRecipe
from alignment.recipes_after_sft import after_sft
from alignment.recipes_alignment import DpoRecipe, SftRecipe
from alignment.recipes_groups import in_groups
from alignment.safety.recipes import StageOneRecipe

if TYPE_CHECKING:
    from alignment.data.manifest import ImageSet
    from alignment.policy_base import PolicyBase
    from alignment.policy_vision import PictureReader


_BEGINS_FROM: Mapping[Method, Method] = {"sft-ppo": "sft", "stages-ppo": "stage2"}


def recipe_of(
    whole: ModelRecipe, method: Method, *, seed: int, steps: int | None
) -> SftRecipe | DpoRecipe | PpoRecipe | StageOneRecipe:
    """The method's recipe of a model, with another seed and number of steps.

    Raises NoStagesError for a stage of a model that has none here.
    """
    chosen: SftRecipe | DpoRecipe | PpoRecipe
    match method:
        case "sft":
            chosen = whole.sft
        case "dpo":
            chosen = whole.dpo
        case "ppo":
            chosen = whole.ppo
        case "sft-ppo":
            chosen = after_sft(whole.ppo)
        case "stage1":
            return stages.stage_one_recipe(whole.name, seed=seed, steps=steps)
        case "stage2":
            return stages.stage_two_sft(whole.name, seed=seed, steps=steps)
        case "stages-ppo":
            chosen = stages.ppo_after_stages(whole)
        case "rloo" | "grpo":
            chosen = in_groups(whole.ppo, method)
        case _:
            assert_never(method)
    return replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)


def carry_out(order: RunOrder) -> None:
    """Train, or go on, and leave the merged checkpoint.

    Raises what the method's training and `alignment.export_run` raise.
    """
    if order.merged.is_dir():
        return
    train(order)
    if order.method == "stage1":
        # Modules are no adapter: there is nothing to merge.
        stages.copy_whole(Path(stages.guarded_model(order)), order.merged)
        return
    merge_into(order.run, order.merged, model=_start_model(order))


def train(order: RunOrder) -> None:
    """Train the run to its end; one that has ended is left as it is."""
    from alignment.commands.starting import read_data, read_pictures
    from alignment.policy_base import load_base
    from alignment.recipe_book.registry import recipe_named

    whole = recipe_named(order.recipe)
    recipe = recipe_of(whole, order.method, seed=order.seed, steps=order.steps)
    if isinstance(recipe, StageOneRecipe):
        stages.train_stage_one(order)
        return
    if order.method == "stage2":
        stages.train_stage_two(order)
        return
    model = _start_model(order)
    images = read_data(str(order.data))
    start = None
    if (first := _BEGINS_FROM.get(order.method)) is not None:
        earlier = order.of(first)
        train(earlier)
        start = read_start(earlier.run, base=model)
    base = load_base(model, dtype=whole.dtype, processor_options=whole.processor_options)
    pictures = read_pictures(base, images, views=recipe.views, seed=order.view_seed)
    _train(recipe, images, base, pictures, order.run, start)


def _start_model(order: RunOrder) -> str:
    """The comparison's base; with the modules of stage 1 where what follows stands on them."""
    return stages.guarded_model(order) if order.method in STAGES else order.model


def merge_into(run: Path, folder: Path, *, model: str) -> None:
    """Merge a finished run into a checkpoint that appears whole or not at all.

    Raises UnfinishedRunError and LostBaseError.
    """
    from alignment.export_run import read_run
    from alignment.export_weights import merge, write_merged

    finished = read_run(run, model=model)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_merged(merge(finished.load()), finished.base, partial)
    partial.rename(folder)


def _train(
    recipe: SftRecipe | DpoRecipe | PpoRecipe,
    images: "ImageSet",
    base: "PolicyBase",
    pictures: "PictureReader",
    run: Path,
    start: Start | None,
) -> None:
    match recipe:
        case SftRecipe():
            from alignment.sft import train_sft

            train_sft(recipe, images, run=run, base=base, pictures=pictures)
        case DpoRecipe():
            from alignment.dpo import train_dpo

            train_dpo(recipe, images, run=run, base=base, pictures=pictures)
        case PpoRecipe():
            from alignment.ppo import train_ppo
            from alignment.responses.rules import RulesClassifier

            train_ppo(
                recipe,
                images,
                base=base,
                pictures=pictures,
                classifier=RulesClassifier(),
                run=run,
                start=start,
            )
