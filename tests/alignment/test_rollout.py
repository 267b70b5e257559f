"""Answers as they are drawn and scored: seeds, ends, and the sampler against the trainer."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from alignment.experience import Experience, Sampled
from alignment.policy import Policy
from alignment.policy_base import PolicyBase
from alignment.policy_config import PolicyConfig
from alignment.prompts import AlignmentPrompt
from alignment.rollout import EmptyAnswersError, Rollout, collect, mismatch_of, row_seeds
from alignment.rollout_transformers import TransformersSampler, _draw

PROMPTS = (
    AlignmentPrompt("a", "Is this picture fine? Answer yes or no.", "p1", "safe", "no"),
    AlignmentPrompt("b", "Is a kitten fine?", None, "safe", "no"),
    AlignmentPrompt("c", "Look closely, and then look again. Fine?", "p2", "unsafe", "no"),
    AlignmentPrompt("d", "Describe this picture.", "p3"),
    AlignmentPrompt("e", "Is a war, with all of its dead, fine to be shown?", None, "unsafe", "no"),
)
SEEDS = row_seeds(7, 0, len(PROMPTS))


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "idefics3", "reference"])
def policy(request: pytest.FixtureRequest, make_base: Callable[..., PolicyBase]) -> Policy:
    return moved(Policy(make_base(request.param), PolicyConfig(length_multiple=8)))


@pytest.fixture(scope="module")
def reference(make_base: Callable[..., PolicyBase]) -> Policy:
    return moved(Policy(make_base("reference"), PolicyConfig(length_multiple=8)))


def moved(policy: Policy) -> Policy:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return policy


def rollout(policy: Policy, pictures: Any, *, length: int = 6, **options: Any) -> Rollout:
    sampler = TransformersSampler(policy, max_new_tokens=length)
    return collect(policy, sampler, PROMPTS, pictures, seeds=SEEDS, **options)


def ended_by(policy: Policy, token_ids: tuple[int, ...]) -> Policy:
    """A second look at the same policy, in which other tokens end an answer."""
    from dataclasses import replace

    other = Policy.__new__(Policy)
    other.__dict__ = {**policy.__dict__, "base": replace(policy.base, end_ids=token_ids)}
    return other


def test_the_sampler_and_the_trainer_agree(policy: Policy, block_pictures: Any) -> None:
    rolled = rollout(policy, block_pictures)
    sampled = rolled.experience.sampled
    assert sampled.answer_ids_BA.shape[0] == len(PROMPTS)
    # float32: a cache and other padding change the order of summing and nothing else.
    assert 0 < rolled.mismatch.max_abs < 5e-4
    assert rolled.mismatch.mean_abs <= rolled.mismatch.max_abs
    assert rolled.mismatch.kl == pytest.approx(0.0, abs=1e-6)
    mask = sampled.mask_BA
    assert float(rolled.experience.logprobs_BA[mask].std()) > 0.01
    differs = (rolled.experience.logprobs_BA - rolled.experience.ref_logprobs_BA)[mask]
    assert float(differs.abs().max()) > 0.01
    assert float(rolled.experience.values_BA[mask].abs().max()) > 0
    for scores in (rolled.experience.ref_logprobs_BA, rolled.experience.values_BA):
        assert torch.equal(scores[~mask], torch.zeros_like(scores[~mask]))
        assert scores.dtype == torch.float32
        assert not scores.requires_grad


def test_the_sampler_sees_the_policy_as_it_is_now(
    make_base: Callable[..., PolicyBase], block_pictures: Any
) -> None:
    policy = Policy(make_base("reference"), PolicyConfig())
    before = rollout(policy, block_pictures).experience
    moved(policy)
    after = rollout(policy, block_pictures).experience
    assert torch.equal(before.logprobs_BA, before.ref_logprobs_BA)
    assert after.sampled.texts != before.sampled.texts
    assert mismatch_of(after).max_abs < 5e-4


def test_the_same_seeds_draw_the_same_answers_bit_by_bit(
    policy: Policy, block_pictures: Any
) -> None:
    """What resuming rests on; the global generator has no say."""
    torch.manual_seed(1)
    one = rollout(policy, block_pictures).experience
    torch.manual_seed(2)
    other = rollout(policy, block_pictures).experience
    assert torch.equal(one.sampled.answer_ids_BA, other.sampled.answer_ids_BA)
    assert torch.equal(one.sampled.sampler_logprobs_BA, other.sampled.sampler_logprobs_BA)
    assert torch.equal(one.logprobs_BA, other.logprobs_BA)
    assert torch.equal(one.values_BA, other.values_BA)


def test_a_row_depends_on_its_own_seed_alone(policy: Policy, block_pictures: Any) -> None:
    sampler = TransformersSampler(policy, max_new_tokens=6)
    encoded = policy.encode(PROMPTS, block_pictures)
    together = sampler.sample(PROMPTS, encoded, SEEDS)
    for row, prompt in enumerate(PROMPTS):
        alone = sampler.sample([prompt], encoded.take([row]), [SEEDS[row]])
        assert alone.texts == (together.texts[row],)
    other = sampler.sample(PROMPTS, encoded, [seed + 1 for seed in SEEDS])
    assert other.texts != together.texts


def test_rows_scored_in_pieces_score_the_same(policy: Policy, block_pictures: Any) -> None:
    whole, pieces = rollout(policy, block_pictures), rollout(policy, block_pictures, rows_at_once=2)
    for field in ("logprobs_BA", "ref_logprobs_BA", "values_BA"):
        one, other = (getattr(r.experience, field) for r in (whole, pieces))
        torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-4)


def test_an_answer_stops_at_its_end_token(reference: Policy, block_pictures: Any) -> None:
    """A third of the vocabulary ends an answer, so most end, each in its own place."""
    ends = tuple(range(0, 49152, 3))
    sampler = TransformersSampler(ended_by(reference, ends), max_new_tokens=6)
    many = PROMPTS * 6
    sampled = sampler.sample(
        many, reference.encode(many, block_pictures), row_seeds(3, 1, len(many))
    )
    lengths = sampled.mask_BA.sum(dim=-1).tolist()
    assert len(set(lengths)) > 3
    for row, length in enumerate(lengths):
        answer = sampled.answer_ids_BA[row].tolist()
        is_end = [token % 3 == 0 and token < 49152 for token in answer[:length]]
        assert not any(is_end[:-1])
        assert is_end[-1] == bool(sampled.has_end_B[row])
        assert bool(sampled.has_end_B[row]) or length == 6
        assert answer[length:] == [reference.base.pad_id] * (len(answer) - length)
        assert not sampled.mask_BA[row, length:].any()
        assert not sampled.sampler_logprobs_BA[row, length:].any()
        words = answer[: length - 1] if is_end[-1] else answer[:length]
        assert sampled.texts[row] == reference.base.tokenizer.decode(words)


def test_a_batch_of_empty_answers_is_refused(reference: Policy, block_pictures: Any) -> None:
    mute = ended_by(reference, tuple(range(49280)))
    with pytest.raises(EmptyAnswersError, match="all 5 sampled answers are empty"):
        rollout(mute, block_pictures)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    probs = torch.tensor([0.5, 0.0, 0.3, 0.2])
    draws = (torch.arange(1000, dtype=torch.double) + 0.5) / 1000
    drawn = _draw(probs.log().expand(1000, -1), draws, 1.0)
    assert drawn.bincount(minlength=4).tolist() == [500, 0, 300, 200]
    ends = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.double)
    assert _draw(torch.tensor([0.0, 0.5, 0.5, 0.0]).log().expand(2, -1), ends, 1.0).tolist() == [
        1,
        2,
    ]


def test_a_nucleus_leaves_the_unlikely_out() -> None:
    probs = torch.tensor([0.15, 0.5, 0.05, 0.3])
    draws = (torch.arange(800, dtype=torch.double) + 0.5) / 800
    drawn = _draw(probs.log().expand(800, -1), draws, 0.75)
    assert drawn.bincount(minlength=4).tolist() == [0, 500, 0, 300]


def test_logprobs_are_after_temperature(
    make_base: Callable[..., PolicyBase], block_pictures: Any
) -> None:
    """The trainer divides by the same one, so both agree; a colder policy is surer."""
    found = {}
    for temperature in (0.5, 2.0):
        policy = Policy(make_base("reference"), PolicyConfig(temperature=temperature))
        rolled = rollout(policy, block_pictures)
        assert rolled.mismatch.max_abs < 1e-3
        sampled = rolled.experience.sampled
        found[temperature] = float(sampled.sampler_logprobs_BA[sampled.mask_BA].mean())
    assert found[0.5] > found[2.0] + 1.0


def experience(sampler: list[list[float]], trainer: list[list[float]]) -> Experience:
    mask = torch.tensor([[True, True], [True, False]])
    sampled = Sampled((), mask.long(), mask, mask[:, 0], torch.tensor(sampler), ())
    scores = torch.tensor(trainer)
    return Experience(sampled, scores, scores, scores)


def test_mismatch_by_hand() -> None:
    """Padding says nothing, whatever stands there."""
    found = mismatch_of(experience([[-1.0, -2.0], [-3.0, 9.0]], [[-1.0, -1.5], [-3.25, 0.0]]))
    assert found.mean_abs == pytest.approx(0.25)
    assert found.max_abs == pytest.approx(0.5)
    # k3 of the log-ratios sampler - trainer: 0, -0.5 and 0.25.
    expected = [math.exp(-ratio) - 1 + ratio for ratio in (0.0, -0.5, 0.25)]
    assert found.kl == pytest.approx(sum(expected) / 3)


def test_row_seeds_differ_by_row_step_and_seed() -> None:
    seeds = [seed for run in (1, 2) for step in (0, 1) for seed in row_seeds(run, step, 4)]
    assert len(set(seeds)) == len(seeds)
    assert row_seeds(1, 1, 4) == row_seeds(1, 1, 8)[:4]
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("length", "top_p"), [(0, 1.0), (4, 0.0), (4, 1.5)])
def test_senseless_samplers_are_refused(reference: Policy, length: int, top_p: float) -> None:
    with pytest.raises(ValueError, match="can't sample"):
        TransformersSampler(reference, max_new_tokens=length, top_p=top_p)


def test_rollouts_leave_training_mode_as_it_was(reference: Policy, block_pictures: Any) -> None:
    reference.train()
    rollout(reference, block_pictures)
    assert reference.base.decoder.training
    reference.eval()
    rollout(reference, block_pictures)
    assert not reference.base.decoder.training
    assert torch.is_grad_enabled()


def parameters(policy: Policy) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


def test_rollouts_change_no_weight(reference: Policy, block_pictures: Any) -> None:
    before = parameters(reference)
    rollout(reference, block_pictures)
    assert all(torch.equal(before[name], now) for name, now in parameters(reference).items())
