"""Augmented views of a picture: what a platform does to images before a moderator sees them.

A view is a pure function of (image, seed): crop, flip, colour, a cheap resize, JPEG. View 0 is the
picture itself, and every seventh view after it is grey. Drawn pictures (icons, emoji) also change
their background and their hue, because the tower otherwise learns a vendor's palette instead of the
symbol.
"""

import hashlib
import io
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_DRAWN_STYLES = frozenset({"icon", "emoji"})
_GREY_EVERY = 7


def view_of(image: Image.Image, *, style: str, key: str, view: int, seed: int) -> Image.Image:
    """Return augmented view number `view` of an RGB image; view 0 is the image unchanged.

    `key` names the image, so a view depends on (seed, key, view) alone and not on the order in
    which pictures are visited.
    """
    if view == 0:
        return image
    digest = hashlib.sha256(f"{seed}:{key}:{view}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311 - augmentation, not cryptography
    if style in _DRAWN_STYLES:
        image = _redraw(image, rng)
    image = _crop(image, rng, smallest=0.75 if style in _DRAWN_STYLES else 0.5)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.7:
        image = _recolour(image, rng)
    if view % _GREY_EVERY == 0:
        image = ImageOps.grayscale(image).convert("RGB")
    if rng.random() < 0.3:
        image = _shrink(image, rng)
    if rng.random() < 0.5:
        image = _jpeg(image, quality=rng.randint(30, 90))
    return image


def _crop(image: Image.Image, rng: random.Random, smallest: float) -> Image.Image:
    """Cut out a random part of at least `smallest` of the area, of a mildly random shape."""
    area = rng.uniform(smallest, 1.0)
    aspect = rng.uniform(0.8, 1.25)
    width = min(1.0, (area * aspect) ** 0.5) * image.width
    height = min(1.0, (area / aspect) ** 0.5) * image.height
    left = rng.uniform(0, image.width - width)
    top = rng.uniform(0, image.height - height)
    return image.crop((round(left), round(top), round(left + width), round(top + height)))


def _recolour(image: Image.Image, rng: random.Random) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.7, 1.3))
    return ImageEnhance.Color(image).enhance(rng.uniform(0.4, 1.5))


def _shrink(image: Image.Image, rng: random.Random) -> Image.Image:
    """Scale down as a thumbnail would be, losing detail."""
    factor = rng.uniform(0.4, 0.8)
    return image.resize(
        (max(32, round(image.width * factor)), max(32, round(image.height * factor))),
        Image.Resampling.BILINEAR,
    )


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _redraw(image: Image.Image, rng: random.Random) -> Image.Image:
    """Give a drawn picture another background, margin, angle and sometimes another hue."""
    if rng.random() < 0.3:
        hue, saturation, value = image.convert("HSV").split()
        shift = rng.randrange(256)
        hue = hue.point([(level + shift) % 256 for level in range(256)])
        image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    background = (rng.randint(150, 255), rng.randint(150, 255), rng.randint(150, 255))
    if rng.random() < 0.2:
        image = ImageOps.invert(image)
        background = (0, 0, 0)
    elif rng.random() < 0.6:
        # Multiplying tints a white background and leaves dark strokes alone.
        tint = np.asarray(background, dtype=np.float32) / 255.0
        image = Image.fromarray((np.asarray(image, dtype=np.float32) * tint).astype(np.uint8))
    else:
        background = (255, 255, 255)
    margin = rng.uniform(0.0, 0.25)
    image = ImageOps.expand(image, border=round(image.width * margin), fill=background)
    return image.rotate(
        rng.uniform(-20, 20), resample=Image.Resampling.BILINEAR, fillcolor=background
    )
