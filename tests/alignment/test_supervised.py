"""The training loop: resumes bit for bit, learns, exports what assembly merges."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from alignment import supervised
from alignment.checkpoint import UnfinishedRunError, load_weights
from alignment.data.manifest import ImageSet
from alignment.export import export_delta
from alignment.recipes import Lora, SupervisedRecipe, reference_instruct, reference_pretrain
from alignment.supervised import StartWeightsError, TrainingCollapsedError, schedule, train
from server.vlm.delta import read_delta


def small(recipe: SupervisedRecipe, steps: int) -> SupervisedRecipe:
    return replace(
        recipe,
        steps=steps,
        pictures_per_step=2,
        word_sequences_per_step=min(1, recipe.word_sequences_per_step),
        views=2,
        save_every=2,
        warmup_steps=1,
        lora=Lora(r=2, alpha=4, targets=("q_proj",)) if recipe.lora else None,
    )


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(len(lines)))
    return [json.loads(line)["loss"] for line in lines]


def test_a_killed_run_resumes_to_the_same_weights(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(reference_instruct(), steps=4)
    places = {"start": {}, "cache_root": tmp_path}
    whole = train(recipe, images, run=tmp_path / "whole", **places)

    real, calls = supervised.loss_of, 0

    def killed_in_step_four(*args):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(supervised, "loss_of", killed_in_step_four)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, images, run=tmp_path / "cut", **places)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 3, "lo')  # a kill can cut a line short
    monkeypatch.undo()
    resumed = train(recipe, images, run=tmp_path / "cut", **places)

    one, other = load_file(whole), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")

    delta = read_delta(export_delta(tmp_path / "whole", tmp_path / "delta"))
    assert delta.tensors.keys() == one.keys()
    assert (delta.shape.grid, delta.shape.lora_r, delta.shape.lora_alpha) == (4, 2, 4)


def test_pretraining_moves_only_the_connection(images: ImageSet, tmp_path: Path) -> None:
    recipe = small(reference_pretrain(), steps=1)
    weights = load_file(train(recipe, images, run=tmp_path / "run", start={}, cache_root=tmp_path))
    assert {name.split(".")[1] for name in weights} == {"projector", "safety_tokens"}
    assert not list((tmp_path / "run").glob("*.partial"))


def test_a_loss_that_is_no_number_stops_the_run(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = supervised.loss_of

    def broken(*args):  # type: ignore[no-untyped-def]
        loss = real(*args)
        return replace(loss, total=loss.total * float("nan"))

    monkeypatch.setattr(supervised, "loss_of", broken)
    with pytest.raises(TrainingCollapsedError, match="nan at step 0"):
        train(
            small(reference_pretrain(), steps=2),
            images,
            run=tmp_path / "run",
            start={},
            cache_root=tmp_path,
        )


def test_an_unfinished_run_is_neither_exported_nor_started_from(tmp_path: Path) -> None:
    with pytest.raises(UnfinishedRunError, match="no finished weights"):
        export_delta(tmp_path, tmp_path / "out")
    (tmp_path / "weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(UnfinishedRunError, match="no finished weights"):
        load_weights(tmp_path)


def test_weights_of_another_model_are_refused(images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(StartWeightsError, match=r"fit the recipe: elsewhere\.weight"):
        train(
            small(reference_pretrain(), steps=1),
            images,
            run=tmp_path / "run",
            start={"elsewhere.weight": torch.ones(1)},
            cache_root=tmp_path,
        )


def test_the_schedule_warms_up_and_ends_at_a_tenth() -> None:
    factors = [schedule(step, steps=100, warmup_steps=10) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))
