"""The estimators' bias is shown by enumeration: values and the gradients of both uses."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.kl import AdaptiveKl, FixedKl, KlController, KlEstimator, kl_per_token

NAN, INF = float("nan"), float("inf")
LOGITS = st.lists(st.floats(-2.0, 2.0), min_size=4, max_size=4)
LN2 = math.log(2.0)


def of(logp: Tensor, logq: Tensor, estimator: KlEstimator) -> Tensor:
    """The estimate for each word of a vocabulary."""
    return kl_per_token(logp[None], logq[None], torch.ones(1, len(logp)).bool(), estimator)[0]


def logprobs(logits: list[float]) -> Tensor:
    return torch.tensor(logits, dtype=torch.float64).log_softmax(0)


def exact(logp: Tensor, logq: Tensor) -> Tensor:
    return (logp.exp() * (logp - logq)).sum()


@pytest.mark.parametrize(
    ("estimator", "twice_as_likely", "half_as_likely"),
    [
        ("k1", LN2, -LN2),
        ("k2", LN2**2 / 2, LN2**2 / 2),
        ("k3", 1 / 2 - 1 + LN2, 2 - 1 - LN2),
        ("k1_clamped", LN2, 0.0),
    ],
)
def test_estimates_equal_the_table(
    estimator: KlEstimator, twice_as_likely: float, half_as_likely: float
) -> None:
    policy = torch.tensor([[0.5, 0.25, NAN]]).log()
    reference = torch.tensor([[0.25, 0.5, 0.0]]).log()
    found = kl_per_token(policy, reference, torch.tensor([[True, True, False]]), estimator)
    torch.testing.assert_close(found, torch.tensor([[twice_as_likely, half_as_likely, 0.0]]))


@settings(deadline=None, max_examples=60)
@given(p=LOGITS, q=LOGITS)
def test_k1_and_k3_are_unbiased_and_clamped_k1_is_too_high(p: list[float], q: list[float]) -> None:
    logp, logq = logprobs(p), logprobs(q)
    mean = {
        estimator: float((logp.exp() * of(logp, logq, estimator)).sum())
        for estimator in get_args(KlEstimator)
    }
    kl = float(exact(logp, logq))
    assert mean["k1"] == pytest.approx(kl, abs=1e-9)
    assert mean["k3"] == pytest.approx(kl, abs=1e-9)
    # What is cut off is exactly the negative half.
    cut = float((logp.exp() * (logq - logp).clamp(min=0.0)).sum())
    assert mean["k1_clamped"] == pytest.approx(kl + cut, abs=1e-9)


def test_clamped_k1_is_several_times_too_high_near_the_reference() -> None:
    logp, logq = logprobs([0.1, 0.0, -0.1]), logprobs([0.0, 0.0, 0.0])
    clamped = float((logp.exp() * of(logp, logq, "k1_clamped")).sum())
    assert clamped > 5 * float(exact(logp, logq))


def test_k2_is_biased_but_not_near_the_reference() -> None:
    def relative_error(step: float) -> float:
        logp, logq = logprobs([step, 0.0, -step / 2]), logprobs([0.0, 0.0, 0.0])
        kl = float(exact(logp, logq))
        return abs(float((logp.exp() * of(logp, logq, "k2")).sum()) - kl) / kl

    assert relative_error(4.0) > 0.2
    assert relative_error(0.01) < 0.01


@settings(deadline=None, max_examples=200)
@given(
    policy=st.floats(-30.0, 0.0, width=32),
    move=st.floats(-10.0, 10.0, width=32) | st.floats(-(2.0**-10), 2.0**-10, width=32),
)
def test_k2_and_k3_are_never_negative(policy: float, move: float) -> None:
    logp = torch.tensor([policy])
    for estimator in ("k2", "k3"):
        assert float(of(logp, logp + move, estimator)) >= 0.0


def test_k3_of_single_tokens_varies_less_than_k1() -> None:
    logp, logq = logprobs([0.5, 0.0, -0.3, 0.2]), logprobs([0.2, 0.3, 0.0, -0.1])

    def variance(estimator: KlEstimator) -> float:
        estimates = of(logp, logq, estimator)
        mean = (logp.exp() * estimates).sum()
        return float((logp.exp() * (estimates - mean).square()).sum())

    assert variance("k3") < variance("k1") / 10


@settings(deadline=None, max_examples=40)
@given(p=LOGITS, q=LOGITS)
def test_gradients_of_a_penalty_in_the_reward(p: list[float], q: list[float]) -> None:
    theta = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    logp, logq = theta.log_softmax(0), logprobs(q)

    def as_reward(estimator: KlEstimator) -> Tensor:
        surrogate = (logp.detach().exp() * logp * of(logp, logq, estimator).detach()).sum()
        return torch.autograd.grad(surrogate, theta, retain_graph=True)[0]

    (forward,) = torch.autograd.grad(exact(logp, logq), theta, retain_graph=True)
    (backward,) = torch.autograd.grad(exact(logq, logp), theta, retain_graph=True)
    torch.testing.assert_close(as_reward("k1"), forward)
    torch.testing.assert_close(as_reward("k3"), forward - backward)


@settings(deadline=None, max_examples=40)
@given(p=LOGITS, q=LOGITS)
def test_gradients_of_a_term_of_the_loss(p: list[float], q: list[float]) -> None:
    theta = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    logp, logq = theta.log_softmax(0), logprobs(q)

    def as_loss(estimator: KlEstimator) -> Tensor:
        surrogate = (logp.detach().exp() * of(logp, logq, estimator)).sum()
        return torch.autograd.grad(surrogate, theta, retain_graph=True)[0]

    (forward,) = torch.autograd.grad(exact(logp, logq), theta, retain_graph=True)
    (backward,) = torch.autograd.grad(exact(logq, logp), theta, retain_graph=True)
    torch.testing.assert_close(as_loss("k1"), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(as_loss("k2"), forward)
    # At p = q exactly, the guard against rounding may take half of a gradient that is 0 anyway.
    torch.testing.assert_close(as_loss("k3"), backward)


def test_k3_in_the_reward_hardly_pulls_back_near_the_reference() -> None:
    theta = torch.tensor([0.1, 0.0, -0.1], dtype=torch.float64, requires_grad=True)
    logp, logq = theta.log_softmax(0), logprobs([0.0, 0.0, 0.0])

    def pull(estimator: KlEstimator) -> float:
        surrogate = (logp.detach().exp() * logp * of(logp, logq, estimator).detach()).sum()
        return float(torch.autograd.grad(surrogate, theta, retain_graph=True)[0].norm())

    assert pull("k3") < pull("k1") / 10


@pytest.mark.parametrize("estimator", get_args(KlEstimator))
def test_padding_adds_nothing_to_values_or_gradients(estimator: KlEstimator) -> None:
    policy = torch.tensor([[-1.0, -2.0, -INF], [-0.5, NAN, NAN]], requires_grad=True)
    reference = torch.tensor([[-1.5, -1.0, 0.0], [-0.7, 1.0, INF]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = kl_per_token(policy, reference, mask, estimator)
    found.sum().backward()
    assert policy.grad is not None
    assert not found[~mask].any()
    assert not policy.grad[~mask].any()
    assert policy.grad.isfinite().all()


def test_a_fixed_coefficient_stays() -> None:
    controller = FixedKl(0.1)
    controller.update(50.0, answers=32)
    assert controller.coef == 0.1


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (6.0, 1.0),
        (5.4, 1 - 0.1 * 32 / 1000),
        (6.6, 1 + 0.1 * 32 / 1000),
        # Twice the target and none at all: the error is cut at 0.2.
        (12.0, 1 + 0.2 * 32 / 1000),
        (0.0, 1 - 0.2 * 32 / 1000),
    ],
)
def test_an_adaptive_coefficient_moves_towards_its_target(kl: float, factor: float) -> None:
    controller = AdaptiveKl(0.1, target=6.0, horizon=1000)
    controller.update(kl, answers=32)
    assert controller.coef == pytest.approx(0.1 * factor)


def test_a_restored_controller_goes_on_as_if_never_stopped() -> None:
    straight = AdaptiveKl(0.1, target=6.0, horizon=100)
    straight.update(9.0, answers=8)
    resumed = AdaptiveKl(0.1, target=6.0, horizon=100)
    resumed.load_state_dict(straight.state_dict())
    for controller in (straight, resumed):
        controller.update(3.0, answers=8)
    assert resumed.coef == straight.coef != 0.1
    fixed = FixedKl(0.3)
    fixed.load_state_dict(FixedKl(0.2).state_dict())
    assert fixed.coef == 0.2


@pytest.mark.parametrize("controller", [FixedKl(0.1), AdaptiveKl(0.1, target=6.0, horizon=100)])
def test_a_kl_that_is_no_number_is_refused(controller: KlController) -> None:
    with pytest.raises(ValueError, match="the KL is nan"):
        controller.update(NAN, answers=8)
    assert controller.coef == 0.1


def test_a_coefficient_never_turns_into_a_reward() -> None:
    with pytest.raises(ValueError, match="not negative"):
        FixedKl(-0.1)
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveKl(0.1, target=0.0, horizon=100)
    # A batch far larger than the horizon would take more than all of it away.
    controller = AdaptiveKl(0.1, target=6.0, horizon=1)
    controller.update(0.0, answers=32)
    assert controller.coef == 0.0
