from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.errors import MeasurementError
from benchmarks.fresh_images import FreshImages


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    ramp = np.tile(np.linspace(20, 230, 64, dtype=np.uint8), (48, 1))
    files = [tmp_path / "ramp.png", tmp_path / "grey.png"]
    Image.fromarray(np.stack([ramp] * 3, axis=-1)).save(files[0])
    Image.new("L", (64, 48), 128).save(files[1])
    return files


def decoded(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        return np.asarray(image, dtype=np.int16)


def test_no_two_pictures_have_the_same_pixels(paths: list[Path]) -> None:
    fresh = FreshImages(paths, seed=1)
    files = [data for number in range(3) for data in fresh.encode(pass_number=number, count=6)]

    assert len({decoded(data).tobytes() for data in files}) == 18


def test_a_changed_picture_still_shows_the_same(paths: list[Path]) -> None:
    first = decoded(FreshImages(paths, seed=1).encode(pass_number=0, count=1)[0])
    original = np.asarray(Image.open(paths[0]), dtype=np.int16)

    assert np.abs(first - original).mean() < 4


def test_the_same_seed_and_pass_give_the_same_bytes(paths: list[Path]) -> None:
    first, second = (FreshImages(paths, seed=5).encode(pass_number=2, count=3) for _ in range(2))

    assert first == second
    assert first != FreshImages(paths, seed=6).encode(pass_number=2, count=3)


def test_the_longer_side_is_scaled(paths: list[Path]) -> None:
    fresh = FreshImages(paths, seed=1, longest_side_px=128)

    assert decoded(fresh.encode(pass_number=0, count=1)[0]).shape == (96, 128, 3)


def test_no_pictures_are_no_benchmark() -> None:
    with pytest.raises(MeasurementError, match="no pictures"):
        FreshImages([], seed=1)
