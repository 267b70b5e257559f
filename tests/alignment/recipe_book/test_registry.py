"""Recipes by name: whole, distinct, within what pictures they say, and changed with care."""

import json
from typing import Any

import pytest
from PIL import Image

from alignment.policy_config import LoraShape
from alignment.ppo_recipe import s1_ppo
from alignment.recipe_book.model_recipe import ModelRecipe
from alignment.recipe_book.overrides import OverrideError, Overrides, overridden
from alignment.recipe_book.registry import ALIASES, RECIPES, UnknownRecipeError, recipe_named
from server.engine.model_registry import load_registry

ALL = [make() for make in RECIPES.values()]
# vLLM serves adapters of these ranks.
SERVED_RANKS = {8, 16, 32, 64, 128, 256}


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_a_recipe_is_whole(recipe: ModelRecipe) -> None:
    assert RECIPES[recipe.name]() == recipe
    json.dumps(recipe.ppo.describe())
    assert recipe.ppo.policy.policy.r in SERVED_RANKS
    assert recipe.sft.lora.r == recipe.dpo.lora.r == recipe.ppo.policy.policy.r
    assert recipe.sft.batch_size == recipe.dpo.batch_size == recipe.ppo.mix.total
    assert recipe.picture_positions > 0
    assert recipe.dpo.lr < recipe.sft.lr


def test_licences_are_those_of_the_model_registry() -> None:
    known = {entry.model: entry.licence for entry in load_registry().entries}
    stated = {recipe.model: recipe.licence for recipe in ALL if recipe.model in known}
    assert len(stated) >= 6
    assert stated == {model: known[model] for model in stated}


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_recipe(alias: str) -> None:
    assert recipe_named(alias.upper()) == RECIPES[ALIASES[alias]]()


def test_the_papers_recipe_is_the_papers() -> None:
    assert recipe_named("llava-1.5-7b").ppo.describe() == s1_ppo().describe()


def test_an_unknown_name_hears_of_names_like_it() -> None:
    with pytest.raises(UnknownRecipeError, match=r"qwen3-vl-8b") as caught:
        recipe_named("qwen3-vl-8")
    assert caught.value.near


@pytest.mark.parametrize("size", [(3000, 2000), (200, 1400), (64, 64), (768, 768)])
@pytest.mark.parametrize(
    ("name", "patch"), [("qwen2.5-vl-7b", 14), ("qwen3-vl-8b", 16)], ids=["qwen2.5", "qwen3"]
)
def test_a_qwen_picture_takes_at_most_what_the_recipe_says(
    name: str, patch: int, size: tuple[int, int]
) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    recipe = recipe_named(name)
    processor = Qwen2VLImageProcessorPil(patch_size=patch, **recipe.processor_options)
    (grid,) = processor([Image.new("RGB", size)])["image_grid_thw"]
    positions = grid[0] * grid[1] * grid[2] // 4
    assert 4 <= positions <= recipe.picture_positions


def test_an_internvl_picture_is_one_tile() -> None:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    recipe = recipe_named("internvl3.5-8b")
    processor = GotOcr2ImageProcessorPil(
        size={"height": 448, "width": 448}, **recipe.processor_options
    )
    # As the model's own processor asks for.
    tiles = processor([Image.new("RGB", (900, 300))], crop_to_patches=True)["pixel_values"]
    assert len(tiles) == 1
    assert recipe.picture_positions == (448 // 14 // 2) ** 2 + 2


def test_a_smolvlm_picture_is_one_tile() -> None:
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    recipe = recipe_named("smolvlm-256m")
    processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 2048},
        max_image_size={"longest_edge": 512},
        **recipe.processor_options,
    )
    pixels = processor([[Image.new("RGB", (900, 300))]], return_tensors="np")["pixel_values"]
    assert pixels.shape[1] == 1
    assert recipe.picture_positions == (512 // 16 // 4) ** 2 + 3


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    before = s1_ppo()
    after = overridden(
        before,
        Overrides(seed=7, steps=3, micro_batch_size=2, gradient_checkpointing=False, lora_r=32),
    )
    assert (after.seed, after.steps, after.micro_batch_size) == (7, 3, 2)
    assert after.policy.gradient_checkpointing is False
    assert after.policy.policy == LoraShape(r=32, alpha=64, dropout=0.05)
    assert after.policy.value == LoraShape(r=32, alpha=64, dropout=0.05)
    changed = {"seed", "steps", "micro_batch_size", "policy"}
    one, other = before.describe(), after.describe()
    assert {name for name in one if one[name] != other[name]} == changed


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_baselines_take_the_same_overrides(method: str) -> None:
    recipe: Any = getattr(recipe_named("s1"), method)
    changes = Overrides(seed=1, micro_batch_size=1, gradient_checkpointing=False, lora_r=8)
    after = overridden(recipe, changes)
    assert (after.lora.r, after.lora.alpha) == (8, 16)
    assert (after.micro_batch_size, after.gradient_checkpointing) == (1, False)


def test_a_change_that_does_not_add_up_is_one_line() -> None:
    with pytest.raises(OverrideError, match=r"s1-ppo can't be changed so: .*divide"):
        overridden(s1_ppo(), Overrides(seed=1, micro_batch_size=5))
