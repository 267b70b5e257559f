"""Pictures made on the spot; none is stored."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits


@pytest.fixture
def decoder() -> ImageDecoder:
    return ImageDecoder(ImageLimits())


@pytest.fixture
def encode() -> Callable[..., bytes]:
    def encode_image(image: Image.Image, image_format: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, image_format, **options)
        return buffer.getvalue()

    return encode_image


@pytest.fixture
def noise() -> Image.Image:
    """31 x 24 RGB pixels that compress badly, so that files have an inside to cut."""
    pixels = np.random.default_rng(7).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
