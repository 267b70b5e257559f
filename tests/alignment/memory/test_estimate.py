"""The estimate against models that exist: parameters, what backward keeps, published sizes."""

import importlib.util
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from alignment.memory.estimate import Layout, MemoryEstimate, estimate, with_less
from alignment.memory.outline import kept_for_backward, outline_of, parameter_bytes
from alignment.memory.report import memory_table
from alignment.optimizer import MasterAdamW
from alignment.policy import Policy
from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.policy_roles import add_adapters
from alignment.recipe_book.registry import RECIPES, recipe_named
from server.engine.model_registry import load_registry

FAMILIES = ("llava", "qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "reference")
SHORT = PolicyConfig(policy=LoraShape(r=4, alpha=8, dropout=0.1), value=LoraShape(r=2, alpha=4))
GIB = 1 << 30


@pytest.fixture(scope="module")
def shapes() -> dict[str, Callable[[], Any]]:
    """Published sizes, by hub id."""
    path = Path(__file__).parent.parent / "published_shapes.py"
    spec = importlib.util.spec_from_file_location("published_shapes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Callable[[], Any]] = module.SHAPES
    return found


def outline(base: PolicyBase) -> PolicyBase:
    return outline_of(base.model.config, name=base.name, dtype="float32", on_gpu=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_outline_has_the_models_parameters_and_keeps_what_it_keeps(
    family: str, make_base: Callable[..., PolicyBase]
) -> None:
    base = make_base(family)
    drawn = outline(base)
    assert parameter_bytes(drawn.model.parameters()) == parameter_bytes(base.model.parameters())
    assert drawn.decoder_name == base.decoder_name

    base.decoder.config._attn_implementation = "eager"
    with torch.device("meta"):
        add_adapters(drawn, SHORT)
    add_adapters(base, SHORT)
    expected = kept_for_backward(base, rows=3, positions=17)
    assert expected > 0
    assert kept_for_backward(drawn, rows=3, positions=17) == expected


def test_the_trained_part_is_what_a_policy_and_its_optimiser_hold(
    make_base: Callable[..., PolicyBase],
) -> None:
    base = make_base("llava")
    recipe = replace(recipe_named("s1").ppo, policy=SHORT)
    layout = Layout.of(recipe, 16)
    found = estimate(
        base.model.config, recipe, layout, name="llava", dtype="float32", on_gpu=False
    ).trained

    trainable = Policy(base, SHORT).trainable()
    optimizer = MasterAdamW(trainable, 0.0)
    for parameter in trainable.values():
        parameter.grad = torch.zeros_like(parameter)
    held = 2 * sum(p.nbytes for p in trainable.values())
    optimizer.step(lr=0.0, max_grad_norm=1.0)
    state = optimizer.state_dict()
    moments = [m for s in state["adamw"]["state"].values() for m in (s["exp_avg"], s["exp_avg_sq"])]
    gradients = [master.grad for master in optimizer._masters.values()]
    held += sum(t.nbytes for t in [*state["masters"].values(), *moments, *gradients])
    # The value head is float32 and a thousandth of it all in a real model.
    head = sum(p.numel() for name, p in trainable.items() if name.startswith("value_head"))
    assert found == held - 24 * head


def test_published_sizes_are_met(shapes: dict[str, Callable[[], Any]]) -> None:
    published = {entry.model: entry.parameters_b for entry in load_registry().entries}
    checked = 0
    for model, make in shapes.items():
        if published.get(model) is None:
            continue
        drawn = outline_of(make(), name=model, dtype="bfloat16", on_gpu=True)
        billions = parameter_bytes(drawn.model.parameters()) / 2e9
        assert billions == pytest.approx(published[model], abs=0.04), model
        checked += 1
    assert checked >= 7


def test_every_recipe_has_a_published_shape(shapes: dict[str, Callable[[], Any]]) -> None:
    models = {make().model for make in RECIPES.values()} - {None}
    assert models <= shapes.keys()


def estimated(recipe: Any, make_base: Callable[..., PolicyBase], **options: Any) -> MemoryEstimate:
    base = make_base("llava")
    layout = Layout.of(recipe, 16)
    options = {"dtype": "bfloat16", "on_gpu": False, **options}
    return estimate(base.model.config, recipe, layout, name="llava", **options)


def test_each_knob_makes_its_part_smaller(make_base: Callable[..., PolicyBase]) -> None:
    recipe = replace(recipe_named("s1").ppo, policy=SHORT)
    plain = estimated(recipe, make_base)

    half = estimated(replace(recipe, micro_batch_size=2), make_base)
    assert half.activations == pytest.approx(plain.activations / 2, rel=0.01)
    checkpointed = replace(recipe, policy=replace(SHORT, gradient_checkpointing=True))
    assert estimated(checkpointed, make_base).activations < plain.activations
    shorter = estimated(replace(recipe, max_new_tokens=64), make_base)
    assert shorter.kv_cache < plain.kv_cache
    narrower = replace(SHORT, policy=LoraShape(r=2, alpha=4), value=LoraShape(r=1, alpha=2))
    smaller = estimated(replace(recipe, policy=narrower), make_base)
    assert smaller.trained * 2 == plain.trained
    alone = estimated(replace(recipe, advantages="rloo", group_size=2), make_base)
    assert alone.activations < plain.activations
    fused = estimated(recipe, make_base, on_gpu=True)
    assert fused.activations < plain.activations


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_baselines_sample_nothing_and_train_one_adapter(
    method: str, make_base: Callable[..., PolicyBase]
) -> None:
    recipe = getattr(recipe_named("s1"), method)
    layout = Layout.of(recipe, 16)
    found = estimated(recipe, make_base)
    assert found.kv_cache == found.drawing == 0
    assert layout.learn_rows == 8
    # r 128 on q, k, v and o (32 to 32), gate and up (32 to 48), down (48 to 32), twice
    assert found.trained == 16 * 2 * 128 * (4 * 64 + 3 * 80)


FITS = MemoryEstimate(
    weights=10 * GIB,
    trained=2 * GIB,
    pictures=0,
    runtime=GIB,
    activations=4 * GIB,
    scoring=GIB,
    kv_cache=3 * GIB,
    drawing=0,
)
LAYOUT = Layout.of(recipe_named("s1").ppo, 576)


def test_the_peak_is_of_the_worse_moment_alone() -> None:
    assert FITS.peak == 18 * GIB
    assert replace(FITS, kv_cache=7 * GIB).peak == 20 * GIB


@pytest.mark.parametrize(
    ("parts", "checkpointing", "knob"),
    [
        ({}, False, "gradient_checkpointing"),
        ({}, True, "micro_batch_size"),
        ({"kv_cache": 9 * GIB}, True, "max_new_tokens"),
        ({"trained": 9 * GIB}, True, "lora_r"),
        ({"weights": 30 * GIB}, True, "smaller model"),
    ],
)
def test_a_warning_names_the_knob(parts: dict[str, int], checkpointing: bool, knob: str) -> None:
    layout = replace(LAYOUT, gradient_checkpointing=checkpointing)
    found = replace(FITS, **parts)
    assert with_less(found, layout, found.peak) is None
    warning = with_less(found, layout, 17 * GIB)
    assert warning is not None
    assert knob in warning
    assert "\n" not in warning


def test_the_table_shows_every_part_and_the_peak() -> None:
    console = Console(file=io.StringIO(), width=80)
    recipe = recipe_named("s1").ppo
    console.print(memory_table(FITS, recipe, LAYOUT, dtype="bfloat16", free="40.0 GiB free"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("weights", "10.0", "r 128 and 128", "4 x 1152", "32 x 1152", "18.0", "40.0 GiB"):
        assert words in shown
