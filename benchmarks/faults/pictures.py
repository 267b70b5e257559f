"""Drawn pictures whose verdict is known, never the same twice: what every fault is measured with.

They are the two drawings that a model is tried with before it serves (`server.startup_check`), each
time in another shade and with another small patch of noise: other pixels, so that no cache answers,
and the same thing to see.
"""

import base64
import itertools
import json
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image

from server.startup_check import safe_picture, unsafe_picture

_SHADES = 6
"""Grey levels, up or down, by which a whole channel moves."""
_PATCH_PX = 24
_PATCH_NOISE = 24
_JPEG_QUALITY = 90

Label = Literal["safe", "unsafe"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One request's JSON body, and what it has to be judged."""

    body: bytes
    label: Label


class Drawings:
    """Makes labelled request bodies, safe and unsafe in turn; deterministic in `seed`."""

    def __init__(self, *, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._pictures: tuple[tuple[Label, np.ndarray], ...] = (
            ("unsafe", np.asarray(unsafe_picture(), dtype=np.int16)),
            ("safe", np.asarray(safe_picture(), dtype=np.int16)),
        )
        self._turn = itertools.count()

    def next(self) -> Labelled:
        """A picture that nobody has seen."""
        label, pixels = self._pictures[next(self._turn) % len(self._pictures)]
        return Labelled(picture_body(self._jpeg(pixels)), label)

    def stock(self, count: int) -> list[Labelled]:
        """So many, made beforehand: under load making them would take the server's time."""
        return [self.next() for _ in range(count)]

    def _jpeg(self, pixels: np.ndarray) -> bytes:
        height, width, channels = pixels.shape
        changed = pixels + self._random.integers(-_SHADES, _SHADES + 1, size=channels)
        top = int(self._random.integers(0, height - _PATCH_PX))
        left = int(self._random.integers(0, width - _PATCH_PX))
        patch = (_PATCH_PX, _PATCH_PX, channels)
        changed[top : top + _PATCH_PX, left : left + _PATCH_PX] += self._random.integers(
            -_PATCH_NOISE, _PATCH_NOISE + 1, size=patch
        )
        file = BytesIO()
        Image.fromarray(np.clip(changed, 0, 255).astype(np.uint8)).save(
            file, "JPEG", quality=_JPEG_QUALITY
        )
        return file.getvalue()


def picture_body(data: bytes, *, media_type: str = "image/jpeg") -> bytes:
    """The JSON body that asks for the verdict on one encoded picture, with its action."""
    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return json.dumps(
        {
            "input": [{"type": "image_url", "image_url": {"url": url}}],
            "sightward": {"detail": True},
        }
    ).encode()
