"""PDQ, the perceptual hash that hash-sharing programmes exchange: 256 bits and a quality.

The picture's brightness is blurred (a box filter, twice along each axis, its width an even share of
that axis), sampled at 64 x 64 points, and the 16 x 16 lowest frequencies but the mean are taken of
that; a bit says whether a frequency lies above their median. Bits and hexadecimal form are those of
the published algorithm ("The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm",
Facebook 2019), so hashes can be compared with other programs'. It advises to take two pictures for
copies up to a distance of 31 bits, and to compare no picture with a quality below 50.

`server.ingest.perceptual_hash` is the smaller hash that data sets are cleaned with.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 256
MIN_QUALITY = 50

_SIDE = 64
_FREQUENCIES = 16
_BLURS = 2
_RED, _GREEN, _BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)
_MAX_QUALITY = 100
_GRADIENT_SHARE = 90

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PdqHash:
    """`bits` as an integer of 256 bits; `quality` from 0 (flat) to 100."""

    bits: int
    quality: int

    @property
    def is_usable(self) -> bool:
        """Whether there is enough in the picture to tell it from others."""
        return self.quality >= MIN_QUALITY

    def __str__(self) -> str:
        return f"{self.bits:064x}"


def pdq_hash(image: Image.Image) -> PdqHash:
    """The hash of an RGB picture; takes milliseconds, so not for the event loop."""
    red, green, blue = (np.asarray(band, dtype=np.float32) for band in image.split())
    luma = _RED * red + _GREEN * green + _BLUE * blue
    # Blurring and sampling are linear, and each axis is by itself: two products do all of it.
    grid = _blurred_samples(image.height) @ luma @ _blurred_samples(image.width).T
    waves = _cosines()
    spectrum = waves @ grid @ waves.T
    bits = (spectrum > _lower_median(spectrum)).ravel()
    packed = np.packbits(bits, bitorder="little").tobytes()
    return PdqHash(int.from_bytes(packed, "little"), _quality(grid))


@lru_cache(maxsize=128)
def _blurred_samples(length: int) -> _Floats:
    """What takes 64 samples of a blurred axis of `length` points: (64, `length`)."""
    window = (length + 2 * _SIDE - 1) // (2 * _SIDE)
    ahead = (window + 2) // 2
    place = np.arange(length)
    first = np.maximum(place - (window - ahead), 0)[:, None]
    end = np.minimum(place + ahead, length)[:, None]
    # A row a point: the mean over the window around it; at the borders over what there is of it.
    box = ((place >= first) & (place < end)).astype(np.float32) / (end - first)
    sampled = box[((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.intp)]
    for _ in range(_BLURS - 1):
        sampled = sampled @ box
    blurred: _Floats = sampled.astype(np.float32)
    return blurred


@cache
def _cosines() -> _Floats:
    """The DCT's rows of the sixteen lowest frequencies but the mean, (16, 64)."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    position = np.arange(_SIDE)[None, :]
    rows = np.cos(np.pi / 2 / _SIDE * frequency * (2 * position + 1)) * np.sqrt(2 / _SIDE)
    waves: _Floats = rows.astype(np.float32)
    return waves


def _lower_median(values: _Floats) -> np.float32:
    """Of an even number of values the lower of the middle two."""
    flat = np.sort(values, axis=None)
    median: np.float32 = flat[(flat.size - 1) // 2]
    return median


def _quality(grid: _Floats) -> int:
    """How much there is to see: the sum of all steps between neighbours, in hundredths of white."""
    total = 0
    for axis in (0, 1):
        steps = np.trunc(np.diff(grid, axis=axis) * (_MAX_QUALITY / 255))
        total += int(np.abs(steps).sum())
    return min(_MAX_QUALITY, total // _GRADIENT_SHARE)
