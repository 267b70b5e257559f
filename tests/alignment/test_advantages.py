"""Advantages equal tables worked by hand, their definitions, and the gradient they stand for."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.advantages import (
    gae,
    grpo_advantages,
    rloo_advantages,
    spread_over_tokens,
    whiten,
)

NAN, INF = float("nan"), float("inf")
UNIT = st.floats(0.0, 1.0)
LENGTHS = st.lists(st.integers(1, 8), min_size=1, max_size=5)
SEEDS = st.integers(0, 999)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]


def random_like(mask: Tensor, seed: int) -> Tensor:
    return torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed))


def test_gae_equals_the_table() -> None:
    # gamma = 0.9, lambda = 0.5, so a surprise one token ahead counts 0.45.
    #
    # t   r    V    delta = r + 0.9 V' - V    A = delta + 0.45 A'        return = A + V
    # 2   2   1.5   2 + 0        - 1.5 =  .5    .5                        2
    # 1   0   1     0 + .9 * 1.5 - 1   =  .35   .35 + .225   =  .575      1.575
    # 0   1    .5   1 + .9 * 1   -  .5 = 1.4   1.4  + .25875 = 1.65875    2.15875
    #
    # 1  -1   1    -1 + 0        - 1   = -2    -2                        -1
    # 0   0   2     0 + .9 * 1   - 2   = -1.1  -1.1 - .9     = -2         0
    found = gae(
        torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, NAN]]),
        torch.tensor([[0.5, 1.0, 1.5], [2.0, 1.0, INF]]),
        mask_of([3, 2]),
        gamma=0.9,
        lam=0.5,
    )
    advantages = torch.tensor([[1.65875, 0.575, 0.5], [-2.0, -2.0, 0.0]])
    returns = torch.tensor([[2.15875, 1.575, 2.0], [0.0, -1.0, 0.0]])
    torch.testing.assert_close(found.advantages_BA, advantages)
    torch.testing.assert_close(found.returns_BA, returns)


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, gamma=UNIT, lam=UNIT, seed=SEEDS)
def test_gae_equals_its_definition(lengths: list[int], gamma: float, lam: float, seed: int) -> None:
    mask = mask_of(lengths)
    rewards, values = random_like(mask, seed), random_like(mask, seed + 1)
    found = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for b, length in enumerate(lengths):
        r, v = rewards[b, :length].tolist(), [*values[b, :length].tolist(), 0.0]
        deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            brute = sum((gamma * lam) ** ahead * d for ahead, d in enumerate(deltas[t:]))
            assert float(found.advantages_BA[b, t]) == pytest.approx(brute, abs=1e-4)
            assert float(found.returns_BA[b, t]) == pytest.approx(brute + v[t], abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, gamma=UNIT, seed=SEEDS)
def test_with_lambda_1_returns_are_rewards_alone(
    lengths: list[int], gamma: float, seed: int
) -> None:
    mask = mask_of(lengths)
    rewards = random_like(mask, seed)
    found = gae(rewards, random_like(mask, seed + 1), mask, gamma=gamma, lam=1.0)
    for b, length in enumerate(lengths):
        for t in range(length):
            to_go = sum(gamma**i * r for i, r in enumerate(rewards[b, t:length].tolist()))
            assert float(found.returns_BA[b, t]) == pytest.approx(to_go, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, seed=SEEDS, junk=st.sampled_from([NAN, INF, -INF, 1e30]))
def test_what_padding_holds_never_matters(lengths: list[int], seed: int, junk: float) -> None:
    mask = mask_of([*lengths, 9])
    rewards, values = random_like(mask, seed), random_like(mask, seed + 1)
    dirty = [x.masked_fill(~mask, junk) for x in (rewards, values)]
    clean_gae = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    dirty_gae = gae(*dirty, mask, gamma=0.9, lam=0.8)
    assert torch.equal(clean_gae.advantages_BA, dirty_gae.advantages_BA)
    assert torch.equal(clean_gae.returns_BA, dirty_gae.returns_BA)
    for shift_mean in (True, False):
        clean, soiled = (whiten(x, mask, shift_mean=shift_mean) for x in (rewards, dirty[0]))
        assert torch.equal(clean, soiled)
        assert not clean[~mask].any()


def test_an_answer_cut_at_the_limit_is_not_worth_what_might_have_followed() -> None:
    # The last position of a full row: A = r - V, as if it had ended.
    found = gae(
        torch.tensor([[0.0, -1.0]]), torch.tensor([[3.0, 5.0]]), mask_of([2]), gamma=1.0, lam=1.0
    )
    assert found.advantages_BA.tolist() == [[-4.0, -6.0]]


def test_left_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="padded on the right"):
        gae(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([[False, True]]), gamma=1.0, lam=1.0)


def test_whitening_equals_the_table() -> None:
    # 1, 2, 3: mean 2, variance 2/3, so the outer ones are 1 / sqrt(2/3) away.
    x, mask = torch.tensor([[1.0, 2.0], [3.0, NAN]]), mask_of([2, 1])
    step = math.sqrt(1.5)
    torch.testing.assert_close(whiten(x, mask), torch.tensor([[-step, 0.0], [step, 0.0]]))
    torch.testing.assert_close(
        whiten(x, mask, shift_mean=False), torch.tensor([[2.0 - step, 2.0], [2.0 + step, 0.0]])
    )


def test_whitening_equal_values_stays_finite() -> None:
    mask = mask_of([2, 1])
    for value in (7.0, 0.1, -1234.5):
        x = torch.full((2, 2), value)
        kept = [float(x[0, 0])] * 2
        assert not whiten(x, mask).any()
        assert whiten(x, mask, shift_mean=False).tolist() == [kept, [kept[0], 0.0]]


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(2, 8), min_size=1, max_size=5),
    seed=SEEDS,
    scale=st.floats(0.1, 100.0),
    offset=st.floats(-10.0, 10.0),
)
def test_whitened_tokens_have_mean_0_and_variance_1(
    lengths: list[int], seed: int, scale: float, offset: float
) -> None:
    mask = mask_of(lengths)
    x = random_like(mask, seed) * scale + offset
    whitened = whiten(x, mask)[mask]
    assert float(whitened.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(whitened.var(correction=0)) == pytest.approx(1.0, abs=1e-3)
    kept = whiten(x, mask, shift_mean=False)[mask]
    assert float(kept.mean()) == pytest.approx(float(x[mask].mean()), rel=1e-3, abs=1e-3)


def test_group_advantages_equal_the_table() -> None:
    scores = torch.tensor([1.0, 0.0, 0.5, 2.0, 2.0, 2.0])
    # RLOO: 1 - (0 + .5) / 2, 0 - (1 + .5) / 2, .5 - (1 + 0) / 2; equal scores: 0.
    assert rloo_advantages(scores, 3).tolist() == [0.75, -0.75, 0.0, 0.0, 0.0, 0.0]
    # GRPO: less the mean 0.5, over the sample's standard deviation sqrt((.25 + .25) / 2) = 0.5.
    scaled = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(grpo_advantages(scores, 3), scaled, atol=3e-4, rtol=0.0)
    plain = grpo_advantages(scores, 3, scale_by_spread=False)
    assert plain.tolist() == [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]


def test_rloo_has_the_true_gradient_in_the_mean() -> None:
    # Two answers worth 1 and 3, drawn with probabilities softmax(theta): all pairs, enumerated.
    theta = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
    worth = torch.tensor([1.0, 3.0], dtype=torch.float64)
    logp = theta.log_softmax(0)
    (true,) = torch.autograd.grad((logp.exp() * worth).sum(), theta, retain_graph=True)
    surrogate = torch.zeros((), dtype=torch.float64)
    for pair in itertools.product(range(2), repeat=2):
        drawn = torch.tensor(pair)
        chance = logp.detach()[drawn].sum().exp()
        surrogate = surrogate + chance * (rloo_advantages(worth[drawn], 2) * logp[drawn]).mean()
    (found,) = torch.autograd.grad(surrogate, theta)
    torch.testing.assert_close(found, true)


@pytest.mark.parametrize("advantages", [rloo_advantages, grpo_advantages])
def test_groups_must_be_whole_and_have_something_to_compare(advantages: object) -> None:
    assert callable(advantages)
    with pytest.raises(ValueError, match="at least 2"):
        advantages(torch.ones(4), 1)
    with pytest.raises(ValueError, match="whole groups of 3"):
        advantages(torch.ones(4), 3)


def test_an_answers_advantage_goes_to_its_tokens_alone() -> None:
    spread = spread_over_tokens(torch.tensor([2.0, -1.0]), mask_of([2, 1]))
    assert spread.tolist() == [[2.0, 2.0], [-1.0, 0.0]]
