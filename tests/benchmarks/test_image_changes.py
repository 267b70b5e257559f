import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.image_changes import Change, changes

BY_NAME = {change.name: change for change in changes()}


@pytest.fixture
def picture() -> Image.Image:
    ramp = np.zeros((40, 100, 3), dtype=np.uint8)
    ramp[:, :, 0] = np.arange(100)
    ramp[:, :, 1] = 2 * np.arange(40)[:, None]
    return Image.fromarray(ramp)


def changed(name: str, picture: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(BY_NAME[name].apply(picture).data))


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.name)
def test_a_change_is_the_file_it_says_and_stays_a_colour_picture(
    change: Change, picture: Image.Image
) -> None:
    encoded = change.apply(picture)
    image = Image.open(io.BytesIO(encoded.data))
    assert Image.MIME[image.format or ""] == encoded.media_type
    assert image.mode == "RGB"


def test_names_are_unique_and_one_control_comes_first() -> None:
    assert len(BY_NAME) == len(changes())
    assert [change.is_control for change in changes()].index(True) == 0
    assert sum(change.is_control for change in changes()) == 1


def test_the_control_keeps_every_pixel(picture: Image.Image) -> None:
    assert np.array_equal(np.asarray(changed("same pixels", picture)), np.asarray(picture))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resized x 0.5", (50, 20)),
        ("resized x 1.5", (150, 60)),
        ("mirrored", (100, 40)),
        ("cropped by 2%", (98, 40)),  # 0.4 of a pixel at either edge is none
        ("cropped by 5%", (96, 38)),
        ("cropped by 8%", (92, 36)),
        ("JPEG, quality 50", (100, 40)),
        ("blurred lightly", (100, 40)),
    ],
)
def test_sizes_after_a_change(name: str, size: tuple[int, int], picture: Image.Image) -> None:
    assert changed(name, picture).size == size


def test_pixels_after_a_change(picture: Image.Image) -> None:
    before = np.asarray(picture).astype(int)
    assert np.array_equal(np.asarray(changed("mirrored", picture)), before[:, ::-1])
    assert np.array_equal(np.asarray(changed("cropped by 8%", picture)), before[2:38, 4:96])
    grey = np.asarray(changed("greyed", picture))
    assert (grey == grey[:, :, :1]).all()
    assert grey[0, 50, 0] == round(0.299 * 50)
    assert np.asarray(changed("10% brighter", picture))[39, 99].tolist() == [108, 85, 0]
    assert np.asarray(changed("10% darker", picture))[39, 99].tolist() == [89, 70, 0]


def test_lower_quality_is_further_from_the_picture(picture: Image.Image) -> None:
    noise = np.random.default_rng(1).integers(0, 255, size=(32, 32, 3), dtype=np.uint8)
    noisy = Image.fromarray(noise)
    off = [
        np.abs(np.asarray(changed(name, noisy)).astype(int) - noise).mean()
        for name in ("JPEG, quality 90", "JPEG, quality 70", "JPEG, quality 50")
    ]
    assert 0 < off[0] < off[1] < off[2]


def test_a_picture_of_one_pixel_can_be_changed() -> None:
    for change in changes():
        assert change.apply(Image.new("RGB", (1, 1), "red")).data
