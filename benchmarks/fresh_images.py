"""Pictures that no cache has seen: every pass gets each picture with other pixels, as JPEG bytes.

An exact repeat skips the vision tower, so a benchmark that sends the same pictures twice to a
server with caches measures the caches.
"""

import secrets
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.errors import MeasurementError

JPEG_QUALITY = 90

_NOISE = 3
"""Grey levels by which a pixel moves at most: invisible, and more than JPEG rounds away."""


class FreshImages:
    """Re-encodes the pictures in `paths`, deterministic in `seed` and the number of the pass.

    `longest_side_px` scales every picture so that its longer side has that many pixels; None keeps
    the files' own sizes. Raises `MeasurementError` without paths.
    """

    def __init__(
        self, paths: Sequence[Path], *, seed: int, longest_side_px: int | None = None
    ) -> None:
        if not paths:
            raise MeasurementError("no pictures to encode")
        self._seed = seed
        self._pictures = [_open(path, longest_side_px) for path in paths]

    def encode(self, *, pass_number: int, count: int) -> list[bytes]:
        """`count` JPEG files of this pass; the pictures repeat, their pixels never do."""
        random = np.random.default_rng([self._seed, pass_number])
        return [
            _jpeg(_shifted(self._pictures[index % len(self._pictures)], random))
            for index in range(count)
        ]


def new_pixel_seed() -> int:
    """A seed for the pixels of a run: an endpoint that runs on has seen those of the one before."""
    return secrets.randbits(32)


def fresh_jpeg(picture: Image.Image, *, seed: Sequence[int]) -> bytes:
    """One RGB picture with pixels that differ from its own and from those of any other `seed`."""
    return _jpeg(_shifted(picture, np.random.default_rng(list(seed))))


def _open(path: Path, longest_side_px: int | None) -> Image.Image:
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    if longest_side_px is None:
        return rgb
    scale = longest_side_px / max(rgb.size)
    width, height = (max(1, round(side * scale)) for side in rgb.size)
    return rgb.resize((width, height), Image.Resampling.BICUBIC)


def _shifted(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.int16)
    noise = random.integers(-_NOISE, _NOISE + 1, size=pixels.shape, dtype=np.int16)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
