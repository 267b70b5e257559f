"""Generated pictures: plain shapes on soft backgrounds, of which everything is known.

They test colours, counts, shapes and places without any data set. A picture is drawn when it is
asked for, from its description alone, so the same scene is always the same pixels.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from PIL import Image, ImageDraw

SIDE_PX = 256

# Drawn larger and reduced: Pillow's shapes have jagged edges.
_OVERSAMPLING = 3

Rgb = tuple[int, int, int]
Point = tuple[float, float]
Pattern = Literal["plain", "gradient", "stripes", "checks", "dots"]

PATTERNS: tuple[Pattern, ...] = ("plain", "gradient", "stripes", "checks", "dots")

COLOURS = MappingProxyType(
    {
        "red": (212, 32, 36),
        "orange": (247, 132, 20),
        "yellow": (244, 208, 24),
        "green": (38, 146, 64),
        "blue": (30, 84, 206),
        "purple": (122, 44, 160),
        "pink": (250, 128, 188),
        "brown": (116, 68, 34),
        "black": (18, 18, 20),
        "white": (250, 250, 250),
    }
)
"""What each colour's name looks like."""

ALIKE = frozenset(
    frozenset(pair)
    for pair in (
        ("red", "orange"),
        ("red", "pink"),
        ("red", "brown"),
        ("orange", "yellow"),
        ("orange", "brown"),
        ("purple", "pink"),
        ("purple", "blue"),
        ("brown", "black"),
    )
)
"""Colours that people name one for the other: never options of the same question."""

_LIGHT: tuple[Rgb, ...] = ((238, 238, 232), (222, 230, 238), (236, 226, 212), (224, 234, 222))
_MIDDLE: tuple[Rgb, ...] = ((196, 200, 204), (204, 198, 188), (188, 200, 198))
_DARK: tuple[Rgb, ...] = ((58, 62, 70), (70, 64, 58), (48, 62, 62))

# Luminances from which a figure no longer stands out from the light, or from the dark, tints.
_TOO_LIGHT_FROM = 180.0
_TOO_DARK_BELOW = 95.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One shape: centre and radius as shares of the picture's side, `turn` in degrees."""

    shape: str
    colour: str
    centre: Point
    radius: float
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole picture. `figures` do not overlap; `seed` picks the background's tints."""

    figures: tuple[Figure, ...]
    pattern: Pattern
    seed: int

    def draw(self) -> Image.Image:
        """The RGB picture, `SIDE_PX` wide and high."""
        side = SIDE_PX * _OVERSAMPLING
        image = _background(self, side)
        pen = ImageDraw.Draw(image)
        for figure in self.figures:
            outline = [
                (x * side, y * side)
                for x, y in (_placed(point, figure) for point in SHAPES[figure.shape]())
            ]
            pen.polygon(outline, fill=COLOURS[figure.colour])
        # Averages areas; sharper filters would ring around every edge.
        return image.reduce(_OVERSAMPLING)


def _placed(point: Point, figure: Figure) -> Point:
    """A point of the unit shape (y down) turned, scaled and moved to where the figure stands."""
    angle = math.radians(figure.turn)
    x = point[0] * math.cos(angle) - point[1] * math.sin(angle)
    y = point[0] * math.sin(angle) + point[1] * math.cos(angle)
    return figure.centre[0] + x * figure.radius, figure.centre[1] + y * figure.radius


def _background(scene: Scene, side: int) -> Image.Image:
    chance = random.Random(f"background/{scene.seed}")  # noqa: S311 - nothing secret
    first, second = chance.sample(chance.choice(_tints(scene)), 2)
    image = Image.new("RGB", (side, side), first)
    pen = ImageDraw.Draw(image)
    step = side // chance.choice((6, 8, 10))
    match scene.pattern:
        case "plain":
            pass
        case "gradient":
            for y in range(side):
                pen.line([(0, y), (side, y)], fill=_between(first, second, y / side))
        case "stripes":
            for x in range(-side, side, 2 * step):
                pen.polygon(
                    [(x, 0), (x + step, 0), (x + step + side, side), (x + side, side)], fill=second
                )
        case "checks":
            for row, y in enumerate(range(0, side, step)):
                for x in range((row % 2) * step, side, 2 * step):
                    pen.rectangle([x, y, x + step - 1, y + step - 1], fill=second)
        case "dots":
            radius = step // 5
            for row, y in enumerate(range(step // 2, side, step)):
                for x in range((row % 2) * step // 2, side, step):
                    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=second)
    return image


def _tints(scene: Scene) -> list[tuple[Rgb, ...]]:
    """The families of tints that every figure stands out from."""
    greys = [_luminance(COLOURS[figure.colour]) for figure in scene.figures]
    families = []
    if all(grey < _TOO_LIGHT_FROM for grey in greys):
        families.append(_LIGHT)
    if all(grey > _TOO_DARK_BELOW for grey in greys):
        families.append(_DARK)
    return families or [_MIDDLE]


def _luminance(colour: Rgb) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _between(first: Rgb, second: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _regular(corners: int, start_degrees: float) -> list[Point]:
    angles = (math.radians(start_degrees + 360 * corner / corners) for corner in range(corners))
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def _circle() -> list[Point]:
    return _regular(120, 0.0)


def _square() -> list[Point]:
    return [(x * 0.9, y * 0.9) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def _triangle() -> list[Point]:
    return _regular(3, -90.0)


def _star() -> list[Point]:
    outer, inner = _regular(5, -90.0), _regular(5, -54.0)
    return [
        point
        for tip, notch in zip(outer, inner, strict=True)
        for point in (tip, (notch[0] * 0.42, notch[1] * 0.42))
    ]


def _heart() -> list[Point]:
    turns = (2 * math.pi * step / 120 for step in range(120))
    return [
        (
            math.sin(turn) ** 3,
            -(13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn)
              - math.cos(4 * turn)) / 16,
        )
        for turn in turns
    ]  # fmt: skip


def _cross() -> list[Point]:
    corner = 0.32
    quarter = [(corner, -1.0), (corner, -corner), (1.0, -corner)]
    points: list[Point] = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


def _arrow() -> list[Point]:
    return [(-1, -0.3), (0.1, -0.3), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.3), (-1, 0.3)]


def _crescent() -> list[Point]:
    # What a disc of radius 1 keeps when one of radius 0.8 is taken away 0.5 to its right.
    cut_radius, cut_at = 0.8, 0.5
    tip_x = (1 - cut_radius**2 + cut_at**2) / (2 * cut_at)
    tip_y = math.sqrt(1 - tip_x**2)
    outside = _arc(math.atan2(tip_y, tip_x), 80)
    inside = _arc(math.atan2(tip_y, tip_x - cut_at), 60)[::-1]
    return [(math.cos(angle), math.sin(angle)) for angle in outside] + [
        (cut_at + cut_radius * math.cos(angle), cut_radius * math.sin(angle)) for angle in inside
    ]


def _arc(start: float, steps: int) -> list[float]:
    """Angles in radians from `start` past the left side to its mirror image."""
    return [start + (2 * math.pi - 2 * start) * step / steps for step in range(steps + 1)]


SHAPES: MappingProxyType[str, Callable[[], list[Point]]] = MappingProxyType(
    {
        "circle": _circle,
        "square": _square,
        "triangle": _triangle,
        "star": _star,
        "heart": _heart,
        "cross": _cross,
        "arrow": _arrow,
        "crescent": _crescent,
    }
)
"""The outline of each shape around (0, 0), about 1 in radius, y downwards."""
