"""How much better a token, or a whole answer, was than expected.

PPO asks a value model what to expect and compares token by token: generalised advantage estimation
(Schulman et al. 2016, arXiv 1506.02438), as [S1] does with gamma = lambda = 1. RLOO (Ahmadian et
al. 2024, arXiv 2402.14740) and GRPO (Shao et al. 2024, arXiv 2402.03300) have no value model: they
draw several answers to one prompt and compare each with the others.

Legend in `alignment.experience`; masks are bool and answers padded on the right.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806, N815

from typing import NamedTuple

import torch
from torch import Tensor

from alignment.masked import masked_mean, masked_variance, zero_padding

_VARIANCE_FLOOR = 1e-8
_SPREAD_FLOOR = 1e-4


class Advantages(NamedTuple):
    """`returns_BA` is what the value model should have said; both are 0 on padding."""

    advantages_BA: Tensor
    returns_BA: Tensor


def gae(
    rewards_BA: Tensor, values_BA: Tensor, mask_BA: Tensor, *, gamma: float, lam: float
) -> Advantages:
    """Generalised advantage estimation.

    With the surprise of one token, ``delta_t = r_t + gamma * V_{t+1} - V_t``, the advantage is
    ``A_t = delta_t + gamma * lam * A_{t+1}`` and the return ``A_t + V_t``. Lambda 1 sums real
    rewards only (no bias, much variance), lambda 0 trusts the next value (the reverse).

    Nothing follows an answer's last token: V and A are 0 there. That holds for an answer cut at the
    length limit as well. A continuing task would ask the value model what the cut-off rest is worth
    (bootstrap), but an answer that didn't end is finished business here: it was scored as it
    stands, penalty included, and a value of what might have followed would soften that penalty.

    Raises `ValueError` for a mask that is not right-padded.
    """
    if bool((mask_BA[:, 1:] & ~mask_BA[:, :-1]).any()):
        raise ValueError("answers must be padded on the right: a token follows padding")
    rewards_BA = zero_padding(rewards_BA, mask_BA)
    values_BA = zero_padding(values_BA, mask_BA)
    next_value_B = torch.zeros_like(values_BA[:, 0])
    next_advantage_B = torch.zeros_like(next_value_B)
    backwards: list[Tensor] = []
    for t in reversed(range(mask_BA.shape[1])):
        delta_B = rewards_BA[:, t] + gamma * next_value_B - values_BA[:, t]
        # On padding all three are 0, so an answer's last token looks on to zeros.
        next_advantage_B = delta_B + gamma * lam * next_advantage_B
        next_value_B = values_BA[:, t]
        backwards.append(next_advantage_B)
    advantages_BA = torch.stack(backwards[::-1], dim=1)
    return Advantages(advantages_BA, advantages_BA + values_BA)


def whiten(x_BA: Tensor, mask_BA: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale real tokens to variance 1 and, if `shift_mean`, shift them to mean 0; padding is 0.

    Without `shift_mean` the mean stays where it was: right for rewards, whose sign means something.
    Values that are all equal stay finite: they become 0, or keep their common value. The variance
    is the population's and, on several devices, that of this device's share of the batch.
    """
    mean = masked_mean(x_BA, mask_BA)
    scaled_BA = (x_BA - mean) * torch.rsqrt(masked_variance(x_BA, mask_BA) + _VARIANCE_FLOOR)
    return zero_padding(scaled_BA if shift_mean else scaled_BA + mean, mask_BA)


def rloo_advantages(scores_B: Tensor, group_size: int) -> Tensor:
    """REINFORCE leave-one-out: a score less the mean of the *other* scores of its group.

    Leaving the own score out keeps the gradient unbiased, since the baseline doesn't depend on the
    answer it judges. Answers to one prompt stand together: group 0 first, then group 1.

    Raises `ValueError` for a group smaller than 2 or a batch that is not whole groups.
    """
    scores_GK = _groups(scores_B, group_size)
    others_GK = (scores_GK.sum(dim=1, keepdim=True) - scores_GK) / (group_size - 1)
    return (scores_GK - others_GK).flatten()


def grpo_advantages(scores_B: Tensor, group_size: int, *, scale_by_spread: bool = True) -> Tensor:
    """GRPO: a score less its group's mean, divided by the group's standard deviation.

    Dividing gives groups with nearly equal scores as much weight as groups that differ widely: a
    known bias, which `scale_by_spread` False leaves out (Liu et al. 2025, arXiv 2503.20783). A
    group whose scores are all equal has nothing to teach: 0.

    The standard deviation is the sample's (divided by n - 1). Order and errors as in
    `rloo_advantages`.
    """
    scores_GK = _groups(scores_B, group_size)
    centred_GK = scores_GK - scores_GK.mean(dim=1, keepdim=True)
    if scale_by_spread:
        centred_GK = centred_GK / (scores_GK.std(dim=1, keepdim=True) + _SPREAD_FLOOR)
    return centred_GK.flatten()


def spread_over_tokens(advantages_B: Tensor, mask_BA: Tensor) -> Tensor:
    """Give every real token its answer's advantage: the way RLOO and GRPO enter `policy_loss`."""
    return zero_padding(advantages_B[:, None].expand(mask_BA.shape), mask_BA)


def _groups(scores_B: Tensor, group_size: int) -> Tensor:
    if group_size < 2:
        raise ValueError(f"a group needs at least 2 answers to compare, got {group_size}")
    if scores_B.shape[0] % group_size:
        raise ValueError(f"{scores_B.shape[0]} answers are not whole groups of {group_size}")
    return scores_B.reshape(-1, group_size)
