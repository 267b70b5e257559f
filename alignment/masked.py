"""Means over the real tokens of right-padded answers.

Padding is taken out with `where`, never multiplied away: its content is arbitrary, and 0 times
infinity is not 0, neither in a sum nor in its gradient. Sums are taken in float64: in float32 equal
values can differ from their own mean, and whitening blows such a difference up to full size.

Legend in `alignment.experience`.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

from typing import Literal

import torch
from torch import Tensor

Averaging = Literal["token", "answer"]
"""How tokens are weighed: "token" counts every token of the batch alike, so long answers weigh
more; "answer" counts every answer alike, so a token of a long answer weighs less."""


def zero_padding(x_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """`x_BA` with 0 wherever `mask_BA` (bool) is False, whatever stood there."""
    return torch.where(mask_BA, x_BA, torch.zeros((), dtype=x_BA.dtype, device=x_BA.device))


def token_weights(mask_BA: Tensor, averaging: Averaging = "token") -> Tensor:
    """Weights of the tokens in a mean, float64: they sum to 1 and are 0 on padding.

    Answers without a single token have no weight. Raises `ValueError` when there is no token.
    """
    _require_tokens(mask_BA)
    if averaging == "token":
        return mask_BA.double() / mask_BA.sum()
    tokens_B1 = mask_BA.sum(dim=1, keepdim=True)
    answers = (tokens_B1 > 0).sum()
    return mask_BA.double() / (tokens_B1.clamp(min=1) * answers)


def masked_mean(x_BA: Tensor, mask_BA: Tensor, averaging: Averaging = "token") -> Tensor:
    """The mean over real tokens, a scalar of `x_BA`'s type; raises `ValueError` without a token."""
    return (zero_padding(x_BA, mask_BA) * token_weights(mask_BA, averaging)).sum().to(x_BA.dtype)


def masked_variance(x_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """The population variance (divided by n) over real tokens, a scalar."""
    return masked_mean((x_BA - masked_mean(x_BA, mask_BA)).square(), mask_BA)


def share_of(part_mask_BA: Tensor, whole_mask_BA: Tensor, averaging: Averaging = "token") -> float:
    """What the mean over a part counts for in the mean over the whole.

    A minibatch that is worked through in parts has the loss that it would have in one piece only if
    each part's mean is multiplied by this: parts have the same number of answers but not the same
    number of tokens.
    """
    _require_tokens(whole_mask_BA)
    if averaging == "token":
        return float(part_mask_BA.sum() / whole_mask_BA.sum())
    return float(part_mask_BA.any(dim=1).sum() / whole_mask_BA.any(dim=1).sum())


def _require_tokens(mask_BA: Tensor) -> None:
    if not bool(mask_BA.any()):
        raise ValueError("no token to average over: the mask is empty")
