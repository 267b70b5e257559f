import io

import numpy as np
import pytest
from PIL import Image

from server.ingest.pdq import pdq_hash


def waves(width: int, height: int, phase: float) -> Image.Image:
    """A picture that is the same on every machine."""
    row, column = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = column / width, row / height
    red = 127.5 + 127.5 * np.sin(7 * u + phase + 11 * v * v) * np.cos(9 * v - 3 * u)
    green = 127.5 + 127.5 * np.sin(23 * u * v + phase)
    blue = 127.5 + 127.5 * np.cos(17 * (u - v) + 2 * phase)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).round().astype(np.uint8))


# What the algorithm's own implementation (pdqhash 0.2.8) says of the same pictures.
@pytest.mark.parametrize(
    ("size", "phase", "expected"),
    [
        ((64, 64), 0, "aa5555a5aa5755a4aa5755a4aa5555ac5555aaaf556aaa925566aacc003cffc1"),
        ((100, 80), 1, "aac0552daac6552daac6552daad7552caad5aaaa554aaab4556caa9d4071ff83"),
        ((640, 480), 2, "aa98fd79aa98f579aa98d579aaba5551aaaa556a0094552dffc90039ffe10007"),
        ((333, 777), 3, "ffa0facafda0eadad5a0aa4b55a0aa43aaaa5550aab5016daa995433ffc3003e"),
    ],
)
def test_a_hash_is_that_of_other_programs(
    size: tuple[int, int], phase: float, expected: str
) -> None:
    found = pdq_hash(waves(*size, phase))
    # Rounding may tip a frequency that lies on the median.
    assert (found.bits ^ int(expected, 16)).bit_count() <= 2
    assert found.quality == 100
    assert len(str(found)) == 64


def test_a_smaller_and_lossy_copy_is_near_and_another_picture_is_far() -> None:
    picture = waves(640, 480, 2)
    buffer = io.BytesIO()
    picture.resize((320, 240)).save(buffer, "JPEG", quality=60)
    copy = pdq_hash(Image.open(buffer).convert("RGB"))
    original, other = pdq_hash(picture), pdq_hash(waves(640, 480, 5))
    assert (original.bits ^ copy.bits).bit_count() <= 16
    assert (original.bits ^ other.bits).bit_count() > 64


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (63, 65)])
def test_a_flat_picture_of_any_size_is_not_compared(size: tuple[int, int]) -> None:
    found = pdq_hash(Image.new("RGB", size, "grey"))
    assert found.quality == 0
    assert not found.is_usable
