"""SFT and DPO by TRL: they learn, move the adapter alone, and go on where they were killed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alignment.data.manifest import ImageSet
from alignment.dpo import train_dpo
from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape
from alignment.prompt_sampler import AlignmentPrompts, OneLabelError, PromptMix
from alignment.recipes_alignment import (
    BaselineRecipe,
    DpoRecipe,
    SftRecipe,
    reference_dpo,
    reference_sft,
    s1_dpo,
    s1_sft,
)
from alignment.run_identity import OtherRunError
from alignment.sft import train_sft
from alignment.supervised import TrainingCollapsedError
from alignment.trl_data import RowEncoder
from alignment.trl_run import newest_checkpoint

MakeBase = Callable[..., PolicyBase]
METHODS = ("sft", "dpo")


def small(method: str, **changes: Any) -> BaselineRecipe:
    recipe = reference_sft() if method == "sft" else reference_dpo()
    fields: dict[str, Any] = {
        "steps": 4,
        "mix": PromptMix(pictures=2, words=2),
        "micro_batch_size": 2,
        "views": 2,
        "lora": LoraShape(r=2, alpha=4, dropout=0.1),
        "save_every": 2,
        "length_multiple": 8,
        "warmup_steps": 1,
        "lr": 2e-2,
    }
    return replace(recipe, **(fields | changes))


def train(recipe: BaselineRecipe, images: ImageSet, run: Path, base: PolicyBase) -> Path:
    if isinstance(recipe, DpoRecipe):
        return train_dpo(recipe, images, run=run, base=base, quiet=True)
    assert isinstance(recipe, SftRecipe)
    return train_sft(recipe, images, run=run, base=base, quiet=True)


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return lines


@pytest.fixture
def nothing_reported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Telemetry as it would be on a machine that allows it; what is sent lands in the list."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _telemetry

    sent: list[Any] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(_telemetry, "_start_telemetry_thread", lambda: None)
    monkeypatch.setattr(_telemetry._TELEMETRY_QUEUE, "put", sent.append)
    return sent


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_moves_the_adapter_alone_and_gives_the_base_back(
    method: str, make_base: MakeBase, images: ImageSet, tmp_path: Path, nothing_reported: list[Any]
) -> None:
    from peft import PeftModel

    base = make_base("reference")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    folder = train(small(method, steps=8, save_every=50), images, tmp_path / "run", base)

    assert nothing_reported == []
    lines = metrics(tmp_path / "run")
    assert sum(line["loss"] for line in lines[-2:]) < sum(line["loss"] for line in lines[:2])
    assert all(line["tokens"] > 0 and line["lr"] >= 0 and line["grad_norm"] > 0 for line in lines)
    if method == "dpo":
        assert lines[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
        assert lines[0]["reward_margin"] == 0
        assert lines[-1]["reward_margin"] > 0.05

    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert "forward" not in vars(base.model)

    learnt = adapter(folder)
    assert all(".language_model." in name and ".lora_" in name for name in learnt)
    assert any(bool(value.any()) for name, value in learnt.items() if ".lora_B." in name)
    again = PeftModel.from_pretrained(base.model, folder)
    ids = torch.tensor([[1, 7, 8, 9]])
    with torch.inference_mode():
        adapted = again(input_ids=ids).logits
        with again.disable_adapter():
            assert not torch.equal(again(input_ids=ids).logits, adapted)


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_resumes_to_the_same_weights(
    method: str,
    make_base: MakeBase,
    images: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = small(method)
    whole = train(recipe, images, tmp_path / "whole", make_base("reference"))

    real, calls = RowEncoder.with_answers, 0

    def killed_in_step_four(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:  # two passes a step
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(RowEncoder, "with_answers", killed_in_step_four)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, images, tmp_path / "cut", make_base("reference"))
    monkeypatch.undo()
    # Killed once more while it wrote a checkpoint: the torn one is left alone.
    torn = tmp_path / "cut" / "checkpoint-3"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_st')
    resumed_from = newest_checkpoint(tmp_path / "cut")
    assert resumed_from is not None
    assert resumed_from.name == "checkpoint-2"
    resumed = train(recipe, images, tmp_path / "cut", make_base("reference"))

    one, other = adapter(whole), adapter(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    expected, found = metrics(tmp_path / "whole"), metrics(tmp_path / "cut")
    for name in ("loss", "lr", "grad_norm", "tokens"):
        assert [line[name] for line in found] == [line[name] for line in expected]


@pytest.mark.parametrize("method", METHODS)
def test_the_size_of_a_pass_changes_no_gradient(
    method: str, make_base: MakeBase, images: ImageSet, tmp_path: Path
) -> None:
    lora = LoraShape(r=2, alpha=4)
    lines = {}
    for size in (2, 4):
        recipe = small(method, steps=2, micro_batch_size=size, lora=lora, lr=1e-3)
        train(recipe, images, tmp_path / str(size), make_base("reference"))
        lines[size] = metrics(tmp_path / str(size))
    for one, other in zip(lines[2], lines[4], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert one["tokens"] == other["tokens"]


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("method", METHODS)
def test_any_vlm_takes_a_step_on_pictures_and_words(
    method: str, family: str, make_base: MakeBase, images: ImageSet, tmp_path: Path
) -> None:
    recipe = small(method, steps=1, gradient_checkpointing=True, micro_batch_size=4)
    base = make_base(family)
    folder = train(recipe, images, tmp_path / "run", base)

    (line,) = metrics(tmp_path / "run")
    assert line["loss"] > 0
    assert all(f".{base.decoder_name}." in name for name in adapter(folder))


def test_prompts_are_asked_in_the_order_in_which_ppo_asks_them(
    make_base: MakeBase, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("dpo", steps=2)
    real, asked = RowEncoder.prompts, []

    def noted(self: RowEncoder, rows: Any) -> Any:
        asked.extend(row["id"] for row in rows)
        return real(self, rows)

    monkeypatch.setattr(RowEncoder, "prompts", noted)
    train(recipe, images, tmp_path, make_base("reference"))
    sampler = AlignmentPrompts(images, recipe.mix, seed=recipe.seed, views=recipe.views)
    assert asked == [prompt.id for step in (0, 1) for prompt in sampler.of_step(step)]


def test_a_finished_run_is_not_run_again_nor_taken_for_another(
    make_base: MakeBase, images: ImageSet, tmp_path: Path
) -> None:
    recipe = small("sft", steps=1)
    base = make_base("reference")
    folder = train(recipe, images, tmp_path, base)
    stamp = (folder / "adapter_model.safetensors").stat().st_mtime_ns
    assert train(recipe, images, tmp_path, base) == folder
    assert (folder / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(OtherRunError, match="lr"):
        train(replace(recipe, lr=1e-5), images, tmp_path, base)


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_kept(
    make_base: MakeBase, images: ImageSet, tmp_path: Path
) -> None:
    base = make_base("reference")
    weight = base.decoder.model.norm.weight
    weight.data[0] = float("nan")
    with pytest.raises(TrainingCollapsedError, match="nan at step 0"):
        train(small("sft", save_every=1), images, tmp_path, base)
    assert newest_checkpoint(tmp_path) is None
    assert not any("lora" in name for name, _ in base.model.named_parameters())


def test_one_label_alone_is_refused(make_base: MakeBase, images: ImageSet, tmp_path: Path) -> None:
    unsafe = images.with_examples(one for one in images.examples if one.unsafe)
    with pytest.raises(OneLabelError):
        train(small("dpo"), unsafe, tmp_path, make_base("reference"))


def test_the_papers_settings_are_the_papers() -> None:
    for recipe in (s1_sft(), s1_dpo()):
        assert recipe.lora == LoraShape(r=128, alpha=256, dropout=0.05)
        assert recipe.batch_size == 32
        # 4 epochs over 1,222 unsafe and as many safe pictures
        assert recipe.steps == 4 * 2 * 1222 // 32
    assert (s1_sft().lr, s1_dpo().lr, s1_dpo().beta) == (3e-5, 2e-6, 0.1)


def test_passes_must_divide_a_step() -> None:
    with pytest.raises(ValueError, match="3 is no divisor of the 4 prompts"):
        small("sft", micro_batch_size=3)
