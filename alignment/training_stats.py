"""What PPO logs beside its losses: the figures that show early that a run goes wrong.

Losses bring their own statistics (clip fraction, approximate KL, ratios; `alignment.losses`), and
rewards their named parts (`alignment.reward`). Legend in `alignment.experience`.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alignment.kl import kl_per_token
from alignment.masked import masked_mean, masked_variance, zero_padding
from alignment.responses.protocol import Classification, ResponseOutcome


def explained_variance(values_BA: Tensor, returns_BA: Tensor, mask_BA: Tensor) -> float | None:
    """How much of the returns' variance the value model foresees: 1 - Var(R - V) / Var(R).

    1 is perfect, 0 no better than a constant, below 0 worse than one. None where the returns don't
    vary: there is nothing to explain. Raises `ValueError` when the mask holds no token.
    """
    returns_BA, values_BA = returns_BA.detach(), values_BA.detach()
    variance = masked_variance(returns_BA, mask_BA)
    mean = masked_mean(returns_BA, mask_BA)
    # Returns that are equal but for rounding don't vary either.
    rounding = (torch.finfo(returns_BA.dtype).eps * mean).square()
    if float(variance) <= float(rounding):
        return None
    return float(1.0 - masked_variance(returns_BA - values_BA, mask_BA) / variance)


class Mismatch(NamedTuple):
    """How far the sampler's log-probabilities are from the training model's, for the same tokens.

    - `mean_abs`, `max_abs`: of the difference in nats a token.
    - `kl`: KL(sampler || trainer) in nats a token, estimated by k3. PPO takes it for 0.
    """

    mean_abs: float
    max_abs: float
    kl: float


def sampler_mismatch(sampler_logprobs_BA: Tensor, logprobs_BA: Tensor, mask_BA: Tensor) -> Mismatch:
    """Compare the two; raises `ValueError` when the mask holds no token."""
    difference_BA = zero_padding(sampler_logprobs_BA - logprobs_BA, mask_BA).abs()
    kl_BA = kl_per_token(sampler_logprobs_BA, logprobs_BA, mask_BA, "k3")
    return Mismatch(
        mean_abs=float(masked_mean(difference_BA, mask_BA)),
        max_abs=float(difference_BA.max()),
        kl=float(masked_mean(kl_BA, mask_BA)),
    )


class LengthStats(NamedTuple):
    """Answer lengths in tokens, the end token included, and the share of answers without one."""

    mean: float
    longest: int
    no_end_rate: float


def length_stats(mask_BA: Tensor, has_end_B: Tensor) -> LengthStats:
    """Count the tokens of each answer."""
    lengths_B = mask_BA.sum(dim=1)
    return LengthStats(
        mean=float(lengths_B.float().mean()),
        longest=int(lengths_B.max()),
        no_end_rate=float((~has_end_B).float().mean()),
    )


class OutcomeRates(NamedTuple):
    """Shares of the three outcomes among answers to yes/no questions: they sum to 1."""

    safe: float
    unsafe: float
    no_answer: float


def outcome_rates(classifications: Sequence[Classification | None]) -> OutcomeRates | None:
    """Count outcomes; None stands for an answer to another question and isn't counted.

    None comes back where no answer is counted.
    """
    outcomes = [one.outcome for one in classifications if one is not None]
    if not outcomes:
        return None
    return OutcomeRates(
        safe=outcomes.count(ResponseOutcome.SAFE) / len(outcomes),
        unsafe=outcomes.count(ResponseOutcome.UNSAFE) / len(outcomes),
        no_answer=outcomes.count(ResponseOutcome.NO_ANSWER) / len(outcomes),
    )
