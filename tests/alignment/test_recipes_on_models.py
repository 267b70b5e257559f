"""Each named recipe, as it is but for its size, on a tiny model of the architecture it is for."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from alignment.data.manifest import ImageSet
from alignment.dpo import train_dpo
from alignment.policy_base import PolicyBase
from alignment.ppo import POLICY_FOLDER, train_ppo
from alignment.prompt_sampler import PromptMix, ViewReader
from alignment.recipe_book.model_recipe import ModelRecipe
from alignment.recipe_book.registry import RECIPES, recipe_named
from alignment.responses.rules import RulesClassifier
from alignment.sft import train_sft

TINY_OF = {
    "llava-hf": "llava",
    "Qwen2.5": "qwen2_5_vl",
    "Qwen3": "qwen3_vl",
    "InternVL3_5": "internvl",
    "SmolVLM": "idefics3",
}
# One recipe of each architecture takes steps; the others of a family differ in numbers alone.
# Beside PPO it takes one of the baselines, which share all but the loss.
BASELINE_OF = {
    "s1": "sft",
    "qwen2.5-vl-3b": "dpo",
    "qwen3-vl-8b": "sft",
    "internvl3.5-2b": "dpo",
    "smolvlm-256m": "sft",
}
PICTURES_AND_WORDS = PromptMix(pictures=2, words=2)


def tiny_of(recipe: ModelRecipe) -> str:
    assert recipe.model is not None
    (family,) = [tiny for mark, tiny in TINY_OF.items() if mark in recipe.model]
    return family


@pytest.fixture(params=BASELINE_OF)
def recipe(request: pytest.FixtureRequest) -> ModelRecipe:
    return recipe_named(request.param)


@pytest.fixture
def base(recipe: ModelRecipe, make_base: Callable[..., PolicyBase]) -> PolicyBase:
    """The tiny model in float32: a CPU builds a bfloat16 kernel for every shape that is new to it,
    which takes longer than all else here.
    """
    return make_base(tiny_of(recipe))


def lora_names(folder: Path) -> set[str]:
    found = load_file(folder / "adapter_model.safetensors")
    return {name for name, value in found.items() if ".lora_B." in name and bool(value.any())}


def test_ppo_takes_a_step(
    recipe: ModelRecipe, base: PolicyBase, images: ImageSet, tmp_path: Path
) -> None:
    small = replace(
        recipe.ppo,
        mix=PICTURES_AND_WORDS,
        steps=1,
        max_new_tokens=4,
        minibatch_size=4,
        micro_batch_size=2,
    )
    policy = train_ppo(
        small,
        images,
        base=base,
        pictures=ViewReader(images, seed=small.seed),
        classifier=RulesClassifier(),
        run=tmp_path,
    )

    assert policy == tmp_path / POLICY_FOLDER
    (line,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["policy_grad_norm"] > 0
    assert line["value_grad_norm"] > 0
    moved = set().union(*(lora_names(path.parent) for path in policy.rglob("adapter_model.*")))
    assert all(f"{base.decoder_name}." in name for name in moved)
    for target in recipe.ppo.policy.policy.targets:
        assert any(f".{target}." in name for name in moved), target


def test_a_baseline_takes_a_step(
    recipe: ModelRecipe, base: PolicyBase, images: ImageSet, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "mix": PICTURES_AND_WORDS,
        "steps": 1,
        "micro_batch_size": 4,
        # The first rate of a warm-up is 0, and nothing would move.
        "warmup_steps": 0,
    }
    if BASELINE_OF[recipe.name] == "sft":
        sft = replace(recipe.sft, **changes)
        folder = train_sft(sft, images, run=tmp_path, base=base, quiet=True)
    else:
        dpo = replace(recipe.dpo, **changes)
        folder = train_dpo(dpo, images, run=tmp_path, base=base, quiet=True)

    assert lora_names(folder)


def test_every_recipe_has_a_tiny_model_that_steps() -> None:
    models = {name: make() for name, make in RECIPES.items() if make().model is not None}
    stepped = {tiny_of(models[name]) for name in BASELINE_OF}
    assert {tiny_of(recipe) for recipe in models.values()} == stepped
