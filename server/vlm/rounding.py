"""Rounding merged weights without losing what was merged.

An adapter changes most weights by less than half of their last bf16 digit. Rounded to the nearest,
those changes vanish, and the merged model does less of what it was trained to do: on the reference
VLM its log-odds came out up to .75 nats nearer to the base's. Rounded up or down by chance, each in
proportion to its nearness, weights are right on average, and so are the sums that layers make of
them. The chance is seeded by the weight's name: the same merge gives the same bits.
"""

import hashlib

import torch
from torch import Tensor

_DROPPED_BITS = 16
"""Of float32's digits, those that bfloat16 has not."""


def rounded(values: Tensor, dtype: torch.dtype, *, name: str) -> Tensor:
    """Float32 `values` in `dtype`, rounded by seeded chance to bfloat16 and as usual to others.

    The values must be finite. Values that bfloat16 has keep exactly.
    """
    if dtype != torch.bfloat16:
        return values.to(dtype)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
    # Always on the CPU: the same name must mean the same bits on every device.
    chance = torch.randint(
        1 << _DROPPED_BITS,
        values.shape,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.int32,
    ).to(values.device)
    digits = values.float().contiguous().view(torch.int32) + chance
    return (digits & (-1 << _DROPPED_BITS)).view(torch.float32).to(dtype)
