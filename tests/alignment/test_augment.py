"""Augmented views: reproducible, different, harmless to shape."""

import numpy as np
import pytest
from PIL import Image

from alignment.augment import view_of


@pytest.fixture
def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_the_first_view_is_the_picture(picture: Image.Image) -> None:
    assert view_of(picture, style="photo", key="a", view=0, seed=1) is picture


@pytest.mark.parametrize("style", ["photo", "icon"])
def test_a_view_depends_on_seed_key_and_number_alone(picture: Image.Image, style: str) -> None:
    def view(key: str = "a", view: int = 1, seed: int = 1) -> bytes:
        return view_of(picture, style=style, key=key, view=view, seed=seed).tobytes()

    first = view()
    view(key="b")
    assert view() == first
    assert len({first, view(key="b"), view(view=2), view(seed=2)}) == 4


@pytest.mark.parametrize("style", ["photo", "emoji", "screenshot"])
def test_every_view_is_a_usable_rgb_picture(picture: Image.Image, style: str) -> None:
    for number in range(1, 40):
        seen = view_of(picture, style=style, key="a", view=number, seed=7)
        assert seen.mode == "RGB"
        assert min(seen.size) >= 24


def test_every_seventh_view_is_grey() -> None:
    red = Image.new("RGB", (64, 64), (200, 30, 30))
    for number in range(1, 22):
        seen = np.asarray(view_of(red, style="photo", key="a", view=number, seed=7)).astype(int)
        assert (np.ptp(seen, axis=-1).max() < 3) == (number % 7 == 0)
