"""vLLM as the sampler of the real reference VLM, in float32, where agreement can be asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alignment import rollout_vllm
from alignment.experience import Sampled
from alignment.policy import Policy
from alignment.policy_base import load_base
from alignment.policy_config import PolicyConfig
from alignment.policy_merged import merged_modules
from alignment.prompts import AlignmentPrompt
from alignment.rollout import Rollout, collect, row_seeds
from alignment.rollout_vllm import VllmSampler, VllmSamplingError

pytestmark = pytest.mark.engine

PROMPTS = (
    AlignmentPrompt("a", "Is this picture fine? Answer yes or no.", "p1", "safe", "no"),
    AlignmentPrompt("b", "Is a kitten fine? Answer with one word.", None, "safe", "no"),
    AlignmentPrompt("c", "Describe this picture.", "p2"),
    AlignmentPrompt("d", "Describe a kitten, a boat and the sea at night.", None),
)
SEEDS = row_seeds(7, 0, len(PROMPTS))
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def policy(reference_checkpoint: Path) -> Policy:
    return Policy(load_base(reference_checkpoint, device="cpu", dtype="float32"), PolicyConfig())


@pytest.fixture(scope="module")
def sampler(policy: Policy, block_pictures: Any) -> Iterator[VllmSampler]:
    with VllmSampler(policy, block_pictures, max_new_tokens=6) as started:
        yield started


@pytest.fixture
def rolled(policy: Policy, sampler: VllmSampler, block_pictures: Any) -> Callable[..., Rollout]:
    def roll(*, seeds: Sequence[int] = SEEDS) -> Rollout:
        return collect(policy, sampler, PROMPTS, block_pictures, seeds=seeds)

    return roll


def move(policy: Policy, seed: int) -> None:
    """Set the adapters to values known by `seed`, large enough to change what is said."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.03)


def changed_by(rollout: Rollout) -> float:
    """Mean distance in log-probability between policy and reference."""
    experience = rollout.experience
    distance = (experience.logprobs_BA - experience.ref_logprobs_BA).abs()
    return float(distance[experience.sampled.mask_BA].mean())


def assert_same(one: Sampled, other: Sampled) -> None:
    assert torch.equal(one.answer_ids_BA, other.answer_ids_BA)
    assert torch.equal(one.sampler_logprobs_BA, other.sampler_logprobs_BA)
    assert torch.equal(one.has_end_B, other.has_end_B)


def test_pushed_weights_take_effect_and_nothing_stale_is_served(
    policy: Policy, rolled: Callable[..., Rollout]
) -> None:
    """The same prompts under three policies in turn, and under the second one again."""
    found = {}
    for seed in (1, 2):
        move(policy, seed)
        found[seed] = rolled()
        assert changed_by(found[seed]) > 100 * TOLERANCE
        assert 0 < found[seed].mismatch.max_abs < TOLERANCE
    assert found[1].experience.sampled.texts != found[2].experience.sampled.texts
    move(policy, 1)
    assert_same(rolled().experience.sampled, found[1].experience.sampled)


def test_greedy_answers_are_the_policys(
    policy: Policy,
    sampler: VllmSampler,
    rolled: Callable[..., Rollout],
    block_pictures: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move(policy, 3)
    drawing = sampler._sampling

    def greedy(seed: int) -> Any:
        params = drawing(seed)
        params.temperature, params.seed = 0.0, None
        return params

    monkeypatch.setattr(sampler, "_sampling", greedy)
    rollout = rolled()
    assert rollout.mismatch.max_abs < TOLERANCE
    ends = frozenset(policy.base.end_ids)
    for row, answer in enumerate(answers(rollout.experience.sampled)):
        expected = written_by(policy, [PROMPTS[row]], block_pictures)
        length = next((n + 1 for n, one in enumerate(expected) if one in ends), len(expected))
        assert answer == expected[:length]


def test_answers_end_at_their_end_token_or_at_the_limit(
    policy: Policy, rolled: Callable[..., Rollout]
) -> None:
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.zero_()
    sampled = rolled().experience.sampled
    assert sampled.has_end_B.tolist() == [True, True, False, False]
    for answer, ended, text in zip(
        answers(sampled), sampled.has_end_B.tolist(), sampled.texts, strict=True
    ):
        is_end = [token in policy.base.end_ids for token in answer]
        assert not any(is_end[:-1])
        assert is_end[-1] == ended
        assert ended or len(answer) == 6
        assert text == policy.base.tokenizer.decode(answer[:-1] if ended else answer)


def test_a_row_is_drawn_by_its_seed(policy: Policy, rolled: Callable[..., Rollout]) -> None:
    move(policy, 1)
    once = rolled().experience.sampled
    other = rolled(seeds=[*SEEDS[:2], *(seed + 1 for seed in SEEDS[2:])]).experience.sampled
    assert answers(other)[:2] == answers(once)[:2]
    assert answers(other)[2] != answers(once)[2]
    assert answers(other)[3] != answers(once)[3]


def test_more_than_one_pass_takes_is_drawn_in_waves(
    policy: Policy,
    sampler: VllmSampler,
    rolled: Callable[..., Rollout],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move(policy, 1)
    together = rolled()
    assert sampler._max_prefill_tokens is not None
    monkeypatch.setattr(sampler, "_max_prefill_tokens", 100)
    waves = rolled()
    assert answers(waves.experience.sampled) == answers(together.experience.sampled)
    assert waves.mismatch.max_abs < TOLERANCE


def test_logprobs_are_after_temperature(
    policy: Policy, rolled: Callable[..., Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    move(policy, 1)
    monkeypatch.setattr(policy, "config", replace(policy.config, temperature=1.7))
    assert rolled().mismatch.max_abs < TOLERANCE


def test_pictures_are_seen_as_their_tower_features_are(
    policy: Policy,
    sampler: VllmSampler,
    rolled: Callable[..., Rollout],
    block_pictures: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The way of every other model: the picture itself goes to vLLM."""
    move(policy, 1)
    features = rolled().experience.sampled

    def pixels(example_id: str, view: int, _encoded: Any) -> Any:
        return block_pictures(example_id, view)

    monkeypatch.setattr(sampler, "_picture", pixels)
    seen = rolled()
    assert seen.mismatch.max_abs < TOLERANCE
    assert answers(seen.experience.sampled) == answers(features)


def test_a_prompt_that_vllm_reads_otherwise_is_refused(
    policy: Policy, sampler: VllmSampler, block_pictures: Any
) -> None:
    encoded = policy.encode(PROMPTS, block_pictures)
    swapped = (replace(PROMPTS[0], text="Is it?"), *PROMPTS[1:])
    with pytest.raises(VllmSamplingError, match="it reads prompt 'a' as"), policy.at_rest():
        sampler.sample(swapped, encoded, SEEDS)


def test_weights_that_do_not_fit_are_refused_and_whole_ones_heal(
    policy: Policy, rolled: Callable[..., Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query without its key and value, and a name that the model has not."""
    move(policy, 1)
    before = rolled().experience.sampled
    weights = {name: one for module in merged_modules(policy) for name, one in module.items()}
    name = next(name for name in weights if "q_proj" in name)
    for given in (name, name.replace("q_proj", "unheard_of")):
        with monkeypatch.context() as patch:
            patch.setattr(
                rollout_vllm, "merged_modules", lambda _, n=given: iter([{n: weights[name]}])
            )
            with pytest.raises(VllmSamplingError, match="did not take the policy's weights"):
                rolled()
    assert_same(rolled().experience.sampled, before)


def answers(sampled: Sampled) -> list[list[int]]:
    return [
        ids[mask].tolist() for ids, mask in zip(sampled.answer_ids_BA, sampled.mask_BA, strict=True)
    ]


def written_by(policy: Policy, prompts: list[AlignmentPrompt], pictures: Any) -> list[int]:
    """One greedy answer by the training model, past its end."""
    tokens: list[int] = []

    def pick(logits: Tensor) -> Tensor:
        best = logits.argmax(dim=-1)
        tokens.append(int(best[0]))
        return best

    with policy.at_rest():
        policy.generate(policy.encode(prompts, pictures), pick, max_new_tokens=6)
    return tokens
