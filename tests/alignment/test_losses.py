"""Losses equal tables worked by hand, and clipping stops gradients exactly where it should."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.kl import KlEstimator
from alignment.losses import kl_loss, policy_loss, value_loss

NAN, INF = float("nan"), float("inf")
MASK = torch.tensor([[True, True], [True, False]])
OLD = torch.tensor([[-1.0, -2.0], [-3.0, NAN]])
ADVANTAGES = torch.tensor([[1.0, 1.0], [-1.0, INF]])


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]


def with_ratios(ratios: list[list[float]]) -> Tensor:
    return (OLD + torch.tensor(ratios).log()).requires_grad_()


def test_policy_loss_equals_the_table() -> None:
    # ratio   A    r * A   clamp(r, .8, 1.2) * A   -min
    #  1.5    1     1.5          1.2               -1.2   clipped
    #   .5    1      .5           .8                -.5
    #   .5   -1     -.5          -.8                 .8   clipped
    logprobs = with_ratios([[1.5, 0.5], [0.5, 1.0]])
    found = policy_loss(logprobs, OLD, ADVANTAGES, MASK, clip=0.2)
    assert found.loss.item() == pytest.approx((-1.2 - 0.5 + 0.8) / 3)
    assert float(found.clip_fraction) == pytest.approx(2 / 3)
    assert float(found.ratio_mean) == pytest.approx(2.5 / 3)
    assert float(found.ratio_min) == pytest.approx(0.5)
    assert float(found.ratio_max) == pytest.approx(1.5)
    # k3 of KL(old || new): r - 1 - ln r.
    kl = (1.5 - 1 - math.log(1.5)) + 2 * (0.5 - 1 - math.log(0.5))
    assert float(found.approx_kl) == pytest.approx(kl / 3)


def test_no_gradient_where_clipped_and_the_ratios_elsewhere() -> None:
    logprobs = with_ratios([[1.5, 0.5], [0.5, 1.0]])
    policy_loss(logprobs, OLD, ADVANTAGES, MASK, clip=0.2).loss.backward()
    assert logprobs.grad is not None
    # d(-r * A) / d log r = -r * A, over 3 tokens.
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.0, -0.5 / 3], [0.0, 0.0]]))


def test_the_first_step_is_the_plain_policy_gradient() -> None:
    # Nothing has moved: the ratio is 1, nothing is clipped, and the gradient is -A / 3.
    logprobs = with_ratios([[1.0, 1.0], [1.0, 1.0]])
    found = policy_loss(logprobs, OLD, ADVANTAGES, MASK)
    found.loss.backward()
    assert float(found.clip_fraction) == float(found.approx_kl) == 0.0
    assert logprobs.grad is not None
    third = 1 / 3
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-third, -third], [third, 0.0]]))


@settings(deadline=None, max_examples=100)
@given(
    ratio=st.floats(0.1, 3.0),
    advantage=st.floats(0.1, 5.0) | st.floats(-5.0, -0.1),
    clip=st.floats(0.05, 0.5),
)
def test_the_clip_stops_only_what_goes_on_in_the_rewarded_direction(
    ratio: float, advantage: float, clip: float
) -> None:
    logprobs = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    found = policy_loss(
        logprobs,
        torch.zeros(1, 1, dtype=torch.float64),
        torch.tensor([[advantage]], dtype=torch.float64),
        torch.ones(1, 1).bool(),
        clip=clip,
    )
    found.loss.backward()
    assert logprobs.grad is not None
    gone_far_enough = ratio > 1 + clip if advantage > 0 else ratio < 1 - clip
    expected = 0.0 if gone_far_enough else -ratio * advantage
    assert float(logprobs.grad) == pytest.approx(expected)
    assert float(found.clip_fraction) == float(gone_far_enough)
    # The clip only ever makes the objective worse: it bounds what can be won.
    assert found.loss.item() >= -ratio * advantage - 1e-9


def test_value_loss_equals_the_table() -> None:
    # V    old   return   (V - R)^2   held to old +- .2   (held - R)^2   larger
    # 1    .5     2          1              .7              1.69          1.69   clipped
    # 0    .1    -1          1              0               1             1
    values = torch.tensor([[1.0], [0.0]], requires_grad=True)
    old, returns = torch.tensor([[0.5], [0.1]]), torch.tensor([[2.0], [-1.0]])
    mask = torch.ones(2, 1).bool()
    found = value_loss(values, old, returns, mask, clip=0.2)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(0.5 * (1.69 + 1.0) / 2)
    assert float(found.clip_fraction) == 0.5
    assert values.grad is not None
    assert values.grad.flatten().tolist() == pytest.approx([0.0, 0.5])
    free = value_loss(values, old, returns, mask, clip=None)
    assert free.loss.item() == pytest.approx(0.5)
    assert float(free.clip_fraction) == 0.0


def test_a_value_within_the_clip_is_never_counted_as_clipped() -> None:
    # Near 0, old + (new - old) is not new: rounding must not pass for clipping.
    values = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * 1e-3
    old, returns = torch.full((64, 8), 0.15), torch.zeros(64, 8)
    found = value_loss(values, old, returns, torch.ones(64, 8).bool(), clip=0.2)
    assert float(found.clip_fraction) == 0.0


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    junk=st.sampled_from([NAN, INF, -INF, 1e30]),
)
def test_what_padding_holds_never_matters(lengths: list[int], seed: int, junk: float) -> None:
    mask = mask_of([*lengths, 7])
    dice = torch.Generator().manual_seed(seed)
    new, old, target = (torch.randn(mask.shape, generator=dice) for _ in range(3))
    for loss in (policy_loss, value_loss):
        clean_new = new.clone().requires_grad_()
        dirty_new = new.masked_fill(~mask, junk).requires_grad_()
        clean = loss(clean_new, old, target, mask)
        soiled = (old.masked_fill(~mask, junk), target.masked_fill(~mask, -junk))
        dirty = loss(dirty_new, *soiled, mask)
        for one, other in zip(clean, dirty, strict=True):
            assert torch.equal(one, other)
        clean.loss.backward()
        dirty.loss.backward()
        assert clean_new.grad is not None
        assert dirty_new.grad is not None
        assert torch.equal(clean_new.grad, dirty_new.grad)
        assert not dirty_new.grad[~mask].any()


def test_accumulated_parts_have_the_gradient_of_the_whole() -> None:
    mask = mask_of([5, 1, 2, 4])
    dice = torch.Generator().manual_seed(7)
    new, old, advantages = (torch.randn(mask.shape, generator=dice) * 0.3 for _ in range(3))
    whole, parts = new.clone().requires_grad_(), new.clone().requires_grad_()
    policy_loss(whole, old, advantages, mask).loss.backward()
    for rows in (slice(0, 1), slice(1, 4)):
        part = policy_loss(parts[rows], old[rows], advantages[rows], mask[rows])
        (part.loss * (mask[rows].sum() / mask.sum())).backward()
    assert parts.grad is not None
    torch.testing.assert_close(parts.grad, whole.grad)


def test_statistics_carry_no_gradient() -> None:
    logprobs = with_ratios([[1.5, 0.5], [0.5, 1.0]])
    _, *statistics = policy_loss(logprobs, OLD, ADVANTAGES, MASK)
    values = torch.ones(2, 2, requires_grad=True)
    _, *more = value_loss(values, torch.zeros(2, 2), torch.zeros(2, 2), MASK)
    assert not any(statistic.requires_grad for statistic in (*statistics, *more))


@pytest.mark.parametrize(
    ("estimator", "loss", "twice_as_likely", "half_as_likely"),
    [
        # l = ln 2 and -ln 2. k3: values e^-l - 1 + l, gradients 1 - e^-l; k2: l^2 / 2 and l.
        ("k3", (2 - 1 - math.log(2) + 0.5 - 1 + math.log(2)) / 2, 1 - 0.5, 1 - 2.0),
        ("k2", math.log(2) ** 2 / 2, math.log(2), -math.log(2)),
    ],
)
def test_kl_loss_equals_the_table(
    estimator: KlEstimator, loss: float, twice_as_likely: float, half_as_likely: float
) -> None:
    policy = torch.tensor([[0.5, 0.25], [0.5, NAN]]).log().requires_grad_()
    reference = torch.tensor([[0.25, 0.5], [0.25, INF]]).log()
    mask = torch.tensor([[True, True], [False, False]])
    found = kl_loss(policy, reference, mask, estimator=estimator)
    found.backward()

    assert float(found.detach()) == pytest.approx(loss)
    # Half of each token's own gradient: the mean is over two tokens.
    expected = torch.tensor([[twice_as_likely / 2, half_as_likely / 2], [0.0, 0.0]])
    torch.testing.assert_close(policy.grad, expected)


def test_kl_loss_neither_pulls_at_the_reference_nor_moves_it() -> None:
    policy = torch.tensor([[0.5, 0.25]]).log().requires_grad_()
    reference = policy.detach().clone().requires_grad_()
    kl_loss(policy, reference, torch.ones(1, 2).bool()).backward()

    assert policy.grad is not None
    assert not policy.grad.any()
    assert reference.grad is None


def test_an_empty_batch_has_no_loss() -> None:
    nothing = torch.zeros(1, 2).bool()
    for loss in (policy_loss, value_loss):
        with pytest.raises(ValueError, match="no token"):
            loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2), nothing)
