"""Draws an icon as a small picture: a random size and place on a random plain ground.

Ground and ink vary with the icon's own seed and not with its label, so that neither a colour nor a
margin tells safe from unsafe. The palettes are those of ordinary interfaces, light and dark.
"""

import hashlib
import random
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from io import BytesIO

from PIL import Image

from alignment.data.errors import DataError
from alignment.data.icon_packages import Icon

_LIGHT = [
    "#ffffff",
    "#eeeeee",
    "#f5f0e8",
    "#fdeee9",
    "#fdf5ce",
    "#eaf6e8",
    "#d8edf0",
    "#e1daf1",
    "#f5d9e4",
]
_MIDDLE = [
    "#9fc3e5",
    "#84c0b8",
    "#e49bb6",
    "#d88e60",
    "#c9b59a",
    "#bababa",
    "#a5d49f",
    "#e5c84c",
    "#f3b5a0",
]
_DARK = ["#1e1e20", "#20304f", "#1f3b2c", "#4a1c24", "#3c2a5c", "#56351b"]
_DARK_INK = ["#101010", "#1c2a4d", "#56120f", "#3b1053", "#472a07", "#10402c"]
_PALE_INK = ["#ffffff", "#fdf0a5", "#dffbd8", "#ffd9d6", "#cfe8fb"]
_GROUNDS = ((_LIGHT, _DARK_INK), (_MIDDLE, _DARK_INK), (_DARK, _PALE_INK))
_SHARES = (0.5, 0.3, 0.2)
_SIDES_PX = (160, 192, 192, 224)

RENDERER = "resvg-py"
Renderer = Callable[[str, int], Image.Image]
"""(SVG, its width in pixels) to an RGBA picture."""


class NoRendererError(DataError):
    """The program that turns SVG into pixels isn't there; only building the set needs it."""

    def __init__(self) -> None:
        super().__init__(f"drawing icons needs {RENDERER}: pip install {RENDERER}")


def resvg() -> tuple[Renderer, str]:
    """The renderer that the shipped set was drawn with, and its name and version.

    Raises `NoRendererError`.
    """
    try:
        module = import_module("resvg_py")
    except ImportError as error:
        raise NoRendererError from error

    def render(svg: str, width_px: int) -> Image.Image:
        # Fonts would make the picture depend on the machine; no chosen icon has text.
        png = module.svg_to_bytes(svg_string=svg, skip_system_fonts=True, width=width_px)
        with Image.open(BytesIO(bytes(png))) as picture:
            return picture.convert("RGBA")

    return render, f"{RENDERER} {version(RENDERER)}"


def draw(icon: Icon, render: Renderer, *, key: str, seed: int) -> Image.Image:
    """An RGB square of 160 to 224 pixels a side, the same for the same icon, key and seed."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311 - looks, not cryptography
    ((grounds, inks),) = rng.choices(_GROUNDS, _SHARES)
    ground, ink = rng.choice(grounds), rng.choice(inks)
    side = rng.choice(_SIDES_PX)
    longer_px = side * rng.uniform(0.62, 0.96)
    width_px = max(1, round(longer_px * icon.width / max(icon.width, icon.height)))
    drawing = render(icon.svg(ink=ink), width_px)
    picture = Image.new("RGBA", (side, side), ground)
    free = (side - drawing.width, side - drawing.height)
    left, top = (round(room * rng.uniform(0.3, 0.7)) for room in free)
    picture.alpha_composite(drawing, (left, top))
    return picture.convert("RGB")
