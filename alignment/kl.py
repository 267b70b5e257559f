"""How far the policy has moved from its reference, and what that costs.

Estimators after Schulman, "Approximating KL divergence" (2020). One token was drawn from the
policy p, its log-ratio to the reference q is ``l = log p - log q``, and KL(p || q) = E[l].

| name       | value        | its mean             | its variance                          |
|------------|--------------|----------------------|---------------------------------------|
| k1         | l            | KL                   | high: many single tokens are negative |
| k2         | l^2 / 2      | KL only for p near q | low                                   |
| k3         | e^-l - 1 + l | KL                   | low near q, huge where q/p is large   |
| k1_clamped | max(l, 0)    | more than KL         | as k1; cuts what should cancel ([S1]) |

k2 and k3 are never negative. k3's mean is KL only if q gives no mass to what p can't say.

An unbiased *value* is not yet an unbiased *gradient*, and which one counts depends on the use:

- As a **penalty in the reward** the gradient is E[grad log p * k]. With k1 it is grad KL(p || q),
  exactly. With k3 it is grad KL(p || q) - grad KL(q || p): near q both agree, so the pull back to
  the reference nearly vanishes until the policy has moved some way.
- As a **term of the loss** it is E[grad k]. With k2 it is grad KL(p || q), exactly; with k3 it is
  grad KL(q || p); with k1 it is 0 in the mean: noise alone.

So k3 is the one to report and, in the loss, the one to hold the policy with: the default, as in
GRPO (`alignment.losses.kl_loss`). k1 is the one for a reward (`alignment.reward.shaped_rewards`),
and recipes refuse it in a loss. The tests show each of these by enumeration.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

import math
from collections.abc import Mapping
from typing import Literal, Protocol, assert_never

import torch
from torch import Tensor

from alignment.masked import zero_padding

KlEstimator = Literal["k1", "k2", "k3", "k1_clamped"]


def kl_per_token(
    logprobs_BA: Tensor,
    ref_logprobs_BA: Tensor,
    mask_BA: Tensor,
    estimator: KlEstimator = "k3",
) -> Tensor:
    """Each token's estimate of KL(policy || reference) in nats, (B, A); 0 on padding.

    Log-probabilities are of tokens that the policy drew. The module's table has bias and variance.
    """
    log_ratio_BA = zero_padding(logprobs_BA - ref_logprobs_BA, mask_BA)
    match estimator:
        case "k1":
            return log_ratio_BA
        case "k2":
            return log_ratio_BA.square() / 2
        case "k3":
            # expm1 keeps the digits that exp(x) - 1 loses for small x; the clamp takes rounding.
            return (torch.expm1(-log_ratio_BA) + log_ratio_BA).clamp(min=0.0)
        case "k1_clamped":
            return log_ratio_BA.clamp(min=0.0)
        case _:
            assert_never(estimator)


class KlController(Protocol):
    """Says what one nat of KL costs, and learns from the KL that was seen."""

    @property
    def coef(self) -> float:
        """The coefficient for the next batch."""
        ...

    def update(self, kl: float, answers: int) -> None:
        """Learn that `answers` answers had a mean KL of `kl` nats an answer (summed over tokens).

        Raises `ValueError` for a KL that is not finite.
        """
        ...

    def state_dict(self) -> dict[str, float]:
        """Everything `load_state_dict` needs to go on."""
        ...

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a saved state."""
        ...


class FixedKl:
    """A coefficient that stays: [S1] uses 0.1."""

    def __init__(self, coef: float) -> None:
        self._coef = _checked_coef(coef)

    @property
    def coef(self) -> float:
        """The coefficient."""
        return self._coef

    def update(self, kl: float, answers: int) -> None:  # noqa: ARG002
        """Learn nothing; refuse a KL that is not finite."""
        _check_finite(kl)

    def state_dict(self) -> dict[str, float]:
        """The coefficient."""
        return {"coef": self._coef}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the coefficient."""
        self._coef = _checked_coef(state["coef"])


class AdaptiveKl:
    """A coefficient that steers the KL of an answer towards a target.

    Ziegler et al. 2019 (arXiv 1909.08593), section 2.2: after `answers` answers the coefficient is
    multiplied by ``1 + error * answers / horizon``, where the error is the KL's relative distance
    from the target, cut to +-0.2 so that one wild batch can't run away with it.

    `target` is in nats an answer, `horizon` in answers. Raises `ValueError` unless both are
    positive.
    """

    def __init__(self, coef: float, *, target: float, horizon: int) -> None:
        if not (target > 0.0 and horizon > 0):
            raise ValueError(f"target and horizon must be positive, got {target} and {horizon}")
        self._coef = _checked_coef(coef)
        self._target = target
        self._horizon = horizon

    @property
    def coef(self) -> float:
        """The coefficient for the next batch."""
        return self._coef

    def update(self, kl: float, answers: int) -> None:
        """Move the coefficient up if `kl` is above the target, down if below."""
        _check_finite(kl)
        error = min(max(kl / self._target - 1.0, -0.2), 0.2)
        self._coef *= max(1.0 + error * answers / self._horizon, 0.0)

    def state_dict(self) -> dict[str, float]:
        """The coefficient; target and horizon are configuration."""
        return {"coef": self._coef}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the coefficient."""
        self._coef = _checked_coef(state["coef"])


def _checked_coef(coef: float) -> float:
    if not (math.isfinite(coef) and coef >= 0.0):
        raise ValueError(f"a KL coefficient must be finite and not negative, got {coef}")
    return coef


def _check_finite(kl: float) -> None:
    if not math.isfinite(kl):
        raise ValueError(f"the KL is {kl}: the policy or the reference gave no finite probability")
