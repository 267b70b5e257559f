"""Means over the real tokens of right-padded answers.

Padding is taken out with `where`, never multiplied away: its content is arbitrary, and 0 times
infinity is not 0, neither in a sum nor in its gradient. Sums are taken in float64: in float32 equal
values can differ from their own mean, and whitening blows such a difference up to full size.

Legend in `alignment.experience`.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

import torch
from torch import Tensor


def zero_padding(x_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """`x_BA` with 0 wherever `mask_BA` (bool) is False, whatever stood there."""
    return torch.where(mask_BA, x_BA, torch.zeros((), dtype=x_BA.dtype, device=x_BA.device))


def masked_mean(x_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """The mean over real tokens, a scalar of `x_BA`'s type.

    Every token of the batch counts alike, so long answers weigh more. Raises `ValueError` without a
    token.
    """
    if not bool(mask_BA.any()):
        raise ValueError("no token to average over: the mask is empty")
    weights_BA = mask_BA.double() / mask_BA.sum()
    return (zero_padding(x_BA, mask_BA) * weights_BA).sum().to(x_BA.dtype)


def masked_variance(x_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """The population variance (divided by n) over real tokens, a scalar."""
    return masked_mean((x_BA - masked_mean(x_BA, mask_BA)).square(), mask_BA)
