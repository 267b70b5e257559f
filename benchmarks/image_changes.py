"""Changes that leave a picture's meaning as it was: what happens to files on their way to a server.

Each is made from the decoded picture. Re-encoded pictures are sent in the format they are named
for, all others as PNG, which keeps every pixel: then the change that is named is the only one.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

_BLUR_AT_PX = 256


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A file's bytes and what they are."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change by name; `apply` takes the decoded RGB picture. A `control` changes no pixel."""

    name: str
    apply: Callable[[Image.Image], EncodedImage]
    is_control: bool = False


def changes() -> tuple[Change, ...]:
    """Every change that is measured, the control first."""
    return (
        Change("same pixels", _png, is_control=True),
        *(Change(f"JPEG, quality {quality}", _jpeg(quality)) for quality in (90, 70, 50)),
        Change("WebP, quality 80", _webp),
        *(Change(f"resized x {factor}", _resized(factor)) for factor in (0.5, 0.75, 1.5)),
        Change("mirrored", lambda image: _png(ImageOps.mirror(image))),
        *(Change(f"cropped by {percent}%", _cropped(percent)) for percent in (2, 5, 8)),
        Change("greyed", lambda image: _png(ImageOps.grayscale(image).convert("RGB"))),
        Change("blurred lightly", _blurred),
        Change("10% darker", _brightened(0.9)),
        Change("10% brighter", _brightened(1.1)),
    )


def _png(image: Image.Image) -> EncodedImage:
    return _encoded(image, "PNG", compress_level=1)


def _jpeg(quality: int) -> Callable[[Image.Image], EncodedImage]:
    return lambda image: _encoded(image, "JPEG", quality=quality)


def _webp(image: Image.Image) -> EncodedImage:
    return _encoded(image, "WEBP", quality=80)


def _resized(factor: float) -> Callable[[Image.Image], EncodedImage]:
    def resize(image: Image.Image) -> EncodedImage:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        return _png(image.resize(size, Image.Resampling.LANCZOS))

    return resize


def _cropped(percent: int) -> Callable[[Image.Image], EncodedImage]:
    """So much of width and of height cut off, half of it at either edge."""

    def crop(image: Image.Image) -> EncodedImage:
        left, top = (round(side * percent / 200) for side in image.size)
        return _png(image.crop((left, top, image.width - left, image.height - top)))

    return crop


def _blurred(image: Image.Image) -> EncodedImage:
    """A Gaussian of one pixel where the longer side has 256, and as much of other sizes."""
    radius_px = max(image.size) / _BLUR_AT_PX
    return _png(image.filter(ImageFilter.GaussianBlur(radius_px)))


def _brightened(factor: float) -> Callable[[Image.Image], EncodedImage]:
    return lambda image: _png(ImageEnhance.Brightness(image).enhance(factor))


def _encoded(image: Image.Image, image_format: str, **options: int) -> EncodedImage:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return EncodedImage(buffer.getvalue(), f"image/{image_format.lower()}")
