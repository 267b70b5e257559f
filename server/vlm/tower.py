"""EfficientNet-Lite2 as a vision tower: uint8 pixels in, pooled positions out.

The tower is frozen everywhere in this product, so every BatchNorm is folded into the convolution
before it and no running statistics exist. Padding follows TensorFlow's SAME rule, which the
published weights were trained with: an even input under stride 2 is padded at the right and the
bottom only. Pixels are normalised inside, so callers move bytes, not floats.

Shapes: B images, S = `IMAGE_SIZE` pixels a side, G = pooled grid, C = `CHANNELS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_SIZE = 260
CHANNELS = 1280
_PIXEL_MEAN = 127.0
_PIXEL_STD = 128.0
_BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True, slots=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


# Lite2 = the EfficientNet-B0 stages at width 1.1 and depth 1.2; the Lite family keeps the stem, the
# head and the repeats of the first and the last stage unscaled.
_STEM_WIDTH = 32
_STAGES = (
    _Stage(repeats=1, kernel=3, stride=1, expand=1, width=16),
    _Stage(repeats=3, kernel=3, stride=2, expand=6, width=24),
    _Stage(repeats=3, kernel=5, stride=2, expand=6, width=48),
    _Stage(repeats=4, kernel=3, stride=2, expand=6, width=88),
    _Stage(repeats=4, kernel=5, stride=1, expand=6, width=120),
    _Stage(repeats=5, kernel=5, stride=2, expand=6, width=208),
    _Stage(repeats=1, kernel=3, stride=1, expand=6, width=352),
)


class SameConv2d(nn.Conv2d):
    """A convolution with bias and TensorFlow's SAME padding: output side = ceil(input / stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) to (B, out, ceil(H / stride), ceil(W / stride))."""
        top, bottom = self._padding(x.shape[-2])
        left, right = self._padding(x.shape[-1])
        if (top, left) == (bottom, right):
            # The convolution pads by itself, without a copy of its input.
            return F.conv2d(
                x, self.weight, self.bias, self.stride, padding=(top, left), groups=self.groups
            )
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _padding(self, side: int) -> tuple[int, int]:
        """Zeros before and after a side of so many positions."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


def _relu6(x: Tensor) -> Tensor:
    """In place: what a convolution gives belongs to nobody else."""
    return F.relu6(x, inplace=True)


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel by itself, project back; a residual where shapes allow it."""

    def __init__(
        self, in_width: int, out_width: int, kernel: int, stride: int, expand: int
    ) -> None:
        super().__init__()
        width = in_width * expand
        self.expand = SameConv2d(in_width, width, 1) if expand != 1 else None
        self.depthwise = SameConv2d(width, width, kernel, stride, groups=width)
        self.project = SameConv2d(width, out_width, 1)
        self.residual = stride == 1 and in_width == out_width

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, ceil(H / stride), ceil(W / stride))."""
        h = x if self.expand is None else _relu6(self.expand(x))
        h = self.project(_relu6(self.depthwise(h)))
        out: Tensor = x + h if self.residual else h
        return out


class EfficientNetLite2Tower(nn.Module):
    """The convolutional trunk with a pooled grid on top.

    `grid` is the side of the pooled grid: the tower gives ``grid * grid`` positions an image.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.stem = SameConv2d(3, _STEM_WIDTH, 3, 2)
        blocks: list[nn.Module] = []
        width = _STEM_WIDTH
        for stage in _STAGES:
            for i in range(stage.repeats):
                stride = stage.stride if i == 0 else 1
                blocks.append(
                    InvertedBottleneck(width, stage.width, stage.kernel, stride, stage.expand)
                )
                width = stage.width
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv2d(width, CHANNELS, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 pixels (B, 3, S, S) to features (B, G * G, C), row by row."""
        dtype = self.stem.weight.dtype
        x = pixels.to(dtype).sub(_PIXEL_MEAN).div(_PIXEL_STD)
        x = x.contiguous(memory_format=torch.channels_last)
        x = _relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = _relu6(self.head(x))
        x = F.adaptive_avg_pool2d(x, self.grid)
        positions: Tensor = x.flatten(2).transpose(1, 2).contiguous()
        return positions


def fold_batch_norms(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the published state dict (convolutions and BatchNorms apart) into the tower's own.

    Raises KeyError when a weight is missing; the ImageNet classifier on top is left out.
    """
    folded: dict[str, Tensor] = {}

    def fold(ours: str, conv: str, norm: str) -> None:
        weight = published[f"{conv}.weight"].double()
        scale = published[f"{norm}.weight"].double() / torch.sqrt(
            published[f"{norm}.running_var"].double() + _BATCH_NORM_EPS
        )
        bias = (
            published[f"{norm}.bias"].double() - published[f"{norm}.running_mean"].double() * scale
        )
        folded[f"{ours}.weight"] = (weight * scale[:, None, None, None]).float()
        folded[f"{ours}.bias"] = bias.float()

    fold("stem", "_conv_stem", "_bn0")
    for i in range(sum(stage.repeats for stage in _STAGES)):
        theirs, ours = f"_blocks.{i}", f"blocks.{i}"
        if f"{theirs}._expand_conv.weight" in published:
            fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    fold("head", "_conv_head", "_bn1")
    return folded
