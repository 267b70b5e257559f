"""The straightforward step is no straw man: it learns what ours learns, from the same answers."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.ppo_recipe import PpoRecipe, reference_ppo
from alignment.prompt_sampler import AlignmentPrompts, PromptMix
from alignment.responses.protocol import Classification, Response
from alignment.rollout import row_seeds
from benchmarks.ppo_step.contenders import PARTS, Batch, OursContender, ThreeModelsContender
from benchmarks.ppo_step.drawings import DecodedViews, draw_set
from benchmarks.ppo_step.run import PpoStepConfig, run_ppo_step
from benchmarks.ppo_step.tables import ppo_step_tables
from benchmarks.ppo_step.watch import StepWatch, weights_gib

# Of the two layers of a tiny model the upper one, and both.
UPPER, BOTH = LoraShape(r=4, alpha=8, from_layer=1), LoraShape(r=4, alpha=8)


class CoinClassifier:
    """Calls answers safe or unsafe by their length, so that rewards differ."""

    name = "coin"

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        odd = [len(response.text or "") % 2 for response in responses]
        return [Classification(safe=1.0 - one, unsafe=float(one), no_answer=0.0) for one in odd]


@pytest.fixture(scope="session")
def make_tiny(
    smollm2_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], PolicyBase]:
    """Makes a tiny VLM of a family, the same each time."""
    path = Path(__file__).parents[2] / "alignment" / "tiny_vlms.py"
    spec = importlib.util.spec_from_file_location("tiny_vlms", path)
    assert spec is not None
    assert spec.loader is not None
    tiny_vlms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny_vlms)

    def make(family: str) -> PolicyBase:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made: PolicyBase = tiny_vlms.MAKERS[family](
                smollm2_tokenizer, tmp_path_factory.mktemp(family)
            )
        return made

    return make


def recipe(lora: LoraShape = BOTH, **changes: Any) -> PpoRecipe:
    return replace(
        reference_ppo(),
        policy=PolicyConfig(policy=lora, value=lora, length_multiple=8),
        mix=PromptMix(pictures=4, words=2, general=2),
        max_new_tokens=4,
        minibatch_size=8,
        micro_batch_size=4,
        epochs=2,
        entropy_coef=0.01,
        target_kl=None,
        lr=1e-2,
        **changes,
    )


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Gradients of every step, which are followed plainly: AdamW's first step is their sign, which
    rounding decides where they are small."""
    seen: list[dict[str, Tensor]] = []

    def descend(optimizer: Any, *, lr: float, max_grad_norm: float) -> float:
        found = {}
        with torch.no_grad():
            for name, weight in optimizer._parameters.items():
                plain = name.removeprefix("base_model.model.").replace(".default.", ".*.")
                plain = plain.replace(".policy.", ".*.").replace(".value.", ".*.")
                found[plain] = weight.grad
                weight.sub_(0.2 * weight.grad)
                weight.grad = None
        seen.append(found)
        return float(torch.cat([one.flatten() for one in found.values()]).norm())

    monkeypatch.setattr("alignment.optimizer.MasterAdamW.step", descend)
    return seen


@pytest.mark.parametrize(("family", "lora"), [("reference", UPPER), ("llava", BOTH)])
def test_both_learn_the_same_from_the_same_answers(
    make_tiny: Callable[[str], PolicyBase],
    family: str,
    lora: LoraShape,
    tmp_path: Path,
    gradients: list[dict[str, Tensor]],
) -> None:
    chosen = recipe(lora)
    base = make_tiny(family)
    three_models = ThreeModelsContender(base, chosen, CoinClassifier())
    ours = OursContender(base, chosen, CoinClassifier())
    images = draw_set(tmp_path, count=8, seed=1)
    prompts = AlignmentPrompts(images, chosen.mix, seed=1).of_step(0)
    pictures = DecodedViews(images, prompts, seed=1)
    seeds = row_seeds(1, 0, len(prompts))
    # Adapters that have moved already, and a value head that says something.
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in ours.policy.trainable().values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    three_models.models.take(
        {part: ours.policy.trainable(part) for part in ("policy", "value")}  # type: ignore[arg-type]
    )
    batch = Batch(10, prompts, pictures, seeds, ours.answers_to(prompts, pictures, seeds))

    one, other = ours.step(batch), three_models.step(batch)

    for name in ("logprobs_BA", "ref_logprobs_BA", "values_BA"):
        torch.testing.assert_close(
            getattr(one.experience, name), getattr(other.experience, name), atol=2e-4, rtol=1e-4
        )
    assert bool((one.experience.logprobs_BA != one.experience.ref_logprobs_BA).any())
    for ours_figure, their_figure in zip(one.learnt, other.learnt, strict=True):
        assert ours_figure != 0.0
        assert ours_figure == pytest.approx(their_figure, rel=1e-3, abs=1e-5)
    # Two epochs of policy and value each.
    assert len(gradients) == 8
    for ours_found, their_found in zip(gradients[:4], gradients[4:], strict=True):
        assert ours_found.keys() == their_found.keys()
        for name, gradient in ours_found.items():
            torch.testing.assert_close(gradient, their_found[name], atol=1e-4, rtol=1e-2)
    assert set(one.seconds) == set(other.seconds) == set(PARTS)
    assert one.drawn_tokens > 0
    assert other.drawn_tokens > 0


def test_the_record_says_how_much_faster_and_its_table_shows_it(
    make_tiny: Callable[[str], PolicyBase],
) -> None:
    record = run_ppo_step(
        PpoStepConfig(rounds=2, drawings=8),
        recipe(),
        make_tiny("reference"),
        model_version="tiny",
        classifier=CoinClassifier(),
    )

    json.dumps(record, allow_nan=False)
    figures = record["figures"]
    assert len(record["measurements"]) == 2
    assert figures["three_models"]["weights_gib"] > 2 * figures["ours"]["weights_gib"]
    assert figures["logprob_difference"] < 1e-3
    for one in record["measurements"]:
        ratio = sum(one["three_models"]["seconds"].values()) / sum(one["ours"]["seconds"].values())
        low, high = (figures["step_times_faster"][key] for key in ("low", "high"))
        assert low <= ratio <= high
    (table,) = ppo_step_tables(record)
    assert table.row_count == len(PARTS) + 5


def test_a_step_without_a_value_model_is_refused(make_tiny: Callable[[str], PolicyBase]) -> None:
    with pytest.raises(ValueError, match="no three models"):
        run_ppo_step(
            PpoStepConfig(),
            recipe(advantages="rloo", group_size=2),
            make_tiny("reference"),
            model_version="tiny",
        )


def test_memory_in_use_for_a_moment_is_seen() -> None:
    with StepWatch(torch.device("cpu")) as watch:
        held = torch.ones(64 << 20, dtype=torch.uint8)
        for _ in range(50):
            held.add_(1)
        del held
        watch.lap("all")

    assert watch.peak_gib is None or watch.peak_gib > 0.04
    assert watch.seconds["all"] > 0.0


def test_shared_weights_are_counted_once() -> None:
    layer = torch.nn.Linear(1 << 10, 1 << 10, bias=False)

    assert weights_gib([layer, layer]) == pytest.approx(4 / 1024)
