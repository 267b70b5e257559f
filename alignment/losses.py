"""What PPO minimises: the clipped policy loss, the clipped value loss and the distance's price.

Schulman et al. 2017 (arXiv 1707.06347), equation 7, with the value clip of the authors' own code,
which [S1] keeps (0.2 for both). The whole is ``policy + value_coef * value + kl_coef * kl -
entropy_coef * entropy``; the entropy comes from `alignment.token_scores`, and the KL is left out
where the reward has it already.

Clipping acts only once the policy has moved away from the one that drew the answers: with one pass
over them in a single step, as in [S1], the ratio is 1 and nothing is ever clipped.

Statistics are scalars without gradient. Legend in `alignment.experience`.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

from typing import NamedTuple

import torch
from torch import Tensor

from alignment.kl import KlEstimator, kl_per_token
from alignment.masked import masked_mean, zero_padding


class PolicyLoss(NamedTuple):
    """`loss` and how far the policy is from the one that drew the answers.

    - `clip_fraction`: share of tokens whose gradient the clip cuts to zero.
    - `approx_kl`: KL(old || new) in nats a token, estimated by k3; early stopping watches it.
    - `ratio_*`: of the new probability to the old one.
    """

    loss: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor
    ratio_mean: Tensor
    ratio_min: Tensor
    ratio_max: Tensor


class ValueLoss(NamedTuple):
    """`loss`, and the share of tokens whose gradient the clip cuts to zero."""

    loss: Tensor
    clip_fraction: Tensor


def policy_loss(
    logprobs_BA: Tensor,
    old_logprobs_BA: Tensor,
    advantages_BA: Tensor,
    mask_BA: Tensor,
    *,
    clip: float = 0.2,
) -> PolicyLoss:
    """The clipped surrogate: ``-min(r * A, clamp(r, 1 - clip, 1 + clip) * A)``, averaged.

    ``r = exp(logprobs - old_logprobs)``; gradients flow through `logprobs_BA` alone. A token that
    has become more likely than the clip allows earns nothing by becoming likelier still, and one
    that has become less likely nothing by falling further; the way back always stays open.

    Raises `ValueError` when the mask holds no token.
    """
    log_ratio_BA = zero_padding(logprobs_BA - old_logprobs_BA.detach(), mask_BA)
    advantages_BA = zero_padding(advantages_BA, mask_BA).detach()
    ratio_BA = log_ratio_BA.exp()
    free_BA = -advantages_BA * ratio_BA
    clipped_BA = -advantages_BA * ratio_BA.clamp(1.0 - clip, 1.0 + clip)
    loss = masked_mean(torch.maximum(free_BA, clipped_BA), mask_BA)
    with torch.no_grad():
        approx_kl_BA = kl_per_token(old_logprobs_BA, logprobs_BA, mask_BA, "k3")
        return PolicyLoss(
            loss=loss,
            clip_fraction=masked_mean((clipped_BA > free_BA).float(), mask_BA),
            approx_kl=masked_mean(approx_kl_BA, mask_BA),
            ratio_mean=masked_mean(ratio_BA, mask_BA),
            ratio_min=ratio_BA[mask_BA].min(),
            ratio_max=ratio_BA[mask_BA].max(),
        )


def value_loss(
    values_BA: Tensor,
    old_values_BA: Tensor,
    returns_BA: Tensor,
    mask_BA: Tensor,
    *,
    clip: float | None = 0.2,
) -> ValueLoss:
    """Half the squared error, or that of the value held within `clip` of its old self if larger.

    The clip keeps one batch from throwing the value model far off. It is in the units of the
    return, so it must fit the reward's scale: with returns of +-10 a clip of 0.2 slows the value
    model to a crawl. None leaves it out.

    Raises `ValueError` when the mask holds no token.
    """
    values_BA = zero_padding(values_BA, mask_BA)
    old_values_BA = zero_padding(old_values_BA, mask_BA).detach()
    returns_BA = zero_padding(returns_BA, mask_BA).detach()
    free_BA = (values_BA - returns_BA).square()
    if clip is None:
        loss = 0.5 * masked_mean(free_BA, mask_BA)
        return ValueLoss(loss, clip_fraction=loss.new_zeros(()))
    held_BA = values_BA.clamp(old_values_BA - clip, old_values_BA + clip)
    clipped_BA = (held_BA - returns_BA).square()
    return ValueLoss(
        loss=0.5 * masked_mean(torch.maximum(free_BA, clipped_BA), mask_BA),
        clip_fraction=masked_mean((clipped_BA > free_BA).float(), mask_BA).detach(),
    )


def kl_loss(
    logprobs_BA: Tensor,
    ref_logprobs_BA: Tensor,
    mask_BA: Tensor,
    *,
    estimator: KlEstimator = "k3",
) -> Tensor:
    """The mean estimate of KL(policy || reference) in nats a token, a scalar to differentiate.

    As a term of the loss: with k3 and ``l = logprobs - ref_logprobs`` a token's gradient is ``1 -
    exp(-l)``, which is 0 at the reference and pulls back in proportion from the first step away
    (Shao et al. 2024, arXiv 2402.03300, equation 4). Gradients flow through `logprobs_BA` alone.

    Raises `ValueError` when the mask holds no token.
    """
    kl_BA = kl_per_token(logprobs_BA, ref_logprobs_BA.detach(), mask_BA, estimator)
    return masked_mean(kl_BA, mask_BA)
