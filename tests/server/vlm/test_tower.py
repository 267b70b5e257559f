"""The tower against the published weights it was folded from."""

import torch
import torch.nn.functional as F

from server.vlm.packaged_weights import load_tower_weights, tower_file
from server.vlm.tower import CHANNELS, IMAGE_SIZE, EfficientNetLite2Tower, SameConv2d


def test_folding_a_batch_norm_changes_nothing() -> None:
    published = torch.load(tower_file(), map_location="cpu", weights_only=True)
    folded = load_tower_weights()
    x = torch.randn(2, 32, 20, 20, generator=torch.Generator().manual_seed(1))

    depthwise = F.conv2d(x, published["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    norm = {
        name: published[f"_blocks.0._bn1.{name}"]
        for name in ("running_mean", "running_var", "weight", "bias")
    }
    expected = F.batch_norm(depthwise, **norm, eps=1e-3)
    ours = F.conv2d(
        x,
        folded["blocks.0.depthwise.weight"],
        folded["blocks.0.depthwise.bias"],
        padding=1,
        groups=32,
    )

    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_every_published_convolution_finds_its_place() -> None:
    tower = EfficientNetLite2Tower(grid=4)
    assert tower.load_state_dict(load_tower_weights()).missing_keys == []


def test_positions_come_row_by_row() -> None:
    tower = EfficientNetLite2Tower(grid=3).eval()
    tower.load_state_dict(load_tower_weights())
    half = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    half[..., : IMAGE_SIZE // 3, :] = torch.randint(
        0, 255, (1, 3, IMAGE_SIZE // 3, IMAGE_SIZE), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    with torch.inference_mode():
        features = tower(half)
    assert features.shape == (1, 9, CHANNELS)
    # Only the top third has texture: the first row differs most from the plain last row.
    change = (features[0] - features[0, 8]).norm(dim=-1)
    assert change[:3].min() > change[6:].max()


def test_same_padding_leans_right_and_down() -> None:
    conv = SameConv2d(1, 1, kernel=3, stride=2)
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.zeros_(conv.bias)
    ones = torch.ones(1, 1, 4, 4)
    # The first window is whole (no padding on the left), the last lacks a row and a column.
    assert conv(ones).tolist() == [[[[9.0, 6.0], [6.0, 4.0]]]]
