"""Built-in questions about generated pictures: colours, shapes, counts and sides.

Colours that people name one for the other are never options of the same question, no two figures
overlap, and every question names the figure it is about, since a background has dots or checks of
its own: whoever sees the picture knows the answer.
"""

import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

from benchmarks.capabilities.general.builtin_items import (
    balanced,
    chance_for,
    lettered,
    yes_no,
)
from benchmarks.capabilities.general.items import Item, plain_subject
from benchmarks.capabilities.general.shapes import (
    ALIKE,
    COLOURS,
    PATTERNS,
    SHAPES,
    Figure,
    Scene,
)

ValueT = TypeVar("ValueT")

_COLOUR_QUESTIONS = 16
_SHAPE_QUESTIONS = 16
_COUNT_QUESTIONS = 15
_SIDE_QUESTIONS = 8

_CHOICES = 4
_MOST_FIGURES = 5
_GRID = 3
_MOST_TURN_DEGREES = 12.0


def shape_questions(seed: int) -> Iterator[Item]:
    """All of them, 55, the same for the same seed."""
    yield from _colours(chance_for(seed, "colours"))
    yield from _shapes(chance_for(seed, "shapes"))
    yield from _counts(chance_for(seed, "counts"))
    yield from _sides(chance_for(seed, "sides"))


def _colours(chance: random.Random) -> Iterator[Item]:
    places = balanced(_COLOUR_QUESTIONS, _CHOICES, chance)
    colours = _in_turn(tuple(COLOURS), _COLOUR_QUESTIONS, chance)
    for number, (colour, place) in enumerate(zip(colours, places, strict=True)):
        figure = _large(_any(SHAPES, chance), colour, chance)
        yield lettered(
            "colours",
            plain_subject(f"builtin-colour-{number:02d}"),
            f"Which colour is the large {figure.shape}?",
            right=colour,
            wrong=_unlike(colour, _CHOICES - 1, chance),
            place=place,
            open_image=_scene((figure,), chance).draw,
        )


def _shapes(chance: random.Random) -> Iterator[Item]:
    places = balanced(_SHAPE_QUESTIONS, _CHOICES, chance)
    shapes = _in_turn(tuple(SHAPES), _SHAPE_QUESTIONS, chance)
    for number, (shape, place) in enumerate(zip(shapes, places, strict=True)):
        figure = _large(shape, _any(COLOURS, chance), chance)
        yield lettered(
            "shapes",
            plain_subject(f"builtin-shape-{number:02d}"),
            f"What is the shape of the {figure.colour} figure?",
            right=shape,
            wrong=chance.sample([other for other in SHAPES if other != shape], _CHOICES - 1),
            place=place,
            open_image=_scene((figure,), chance).draw,
        )


def _counts(chance: random.Random) -> Iterator[Item]:
    numbers = tuple(range(1, _MOST_FIGURES + 1))
    places = balanced(_COUNT_QUESTIONS, len(numbers), chance)
    counts = _in_turn(numbers, _COUNT_QUESTIONS, chance)
    for number, (count, place) in enumerate(zip(counts, places, strict=True)):
        shape, colour = _any(SHAPES, chance), _any(COLOURS, chance)
        figures = _scattered(count, shape, colour, chance)
        others = [str(other) for other in numbers if other != count]
        yield lettered(
            "counts",
            plain_subject(f"builtin-count-{number:02d}"),
            f"How many {colour} {_plural(shape)} are in this picture?",
            right=str(count),
            wrong=chance.sample(others, len(others)),
            place=place,
            open_image=_scene(figures, chance).draw,
        )


def _sides(chance: random.Random) -> Iterator[Item]:
    for number, is_left in enumerate(balanced(_SIDE_QUESTIONS, 2, chance)):
        shapes = chance.sample(tuple(SHAPES), 2)
        colour = _any(COLOURS, chance)
        colours = (colour, *_unlike(colour, 1, chance))
        across = [chance.uniform(0.2, 0.3), chance.uniform(0.7, 0.8)]
        first, second = (
            Figure(
                shape,
                colour,
                (x, chance.uniform(0.35, 0.65)),
                chance.uniform(0.13, 0.17),
                chance.uniform(-_MOST_TURN_DEGREES, _MOST_TURN_DEGREES),
            )
            for shape, colour, x in zip(
                shapes, colours, across if is_left else across[::-1], strict=True
            )
        )
        yield yes_no(
            "sides",
            plain_subject(f"builtin-side-{number:02d}"),
            f"Is the {first.colour} {first.shape} to the left of the"
            f" {second.colour} {second.shape}?",
            is_so=bool(is_left),
            open_image=_scene((first, second), chance).draw,
        )


def _in_turn(values: tuple[ValueT, ...], count: int, chance: random.Random) -> list[ValueT]:
    """`count` of `values` in random order, none used twice before all were used once."""
    drawn: list[ValueT] = []
    while len(drawn) < count:
        drawn += chance.sample(values, min(len(values), count - len(drawn)))
    return drawn


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _any(names: Iterable[str], chance: random.Random) -> str:
    return chance.choice(tuple(names))


def _unlike(colour: str, count: int, chance: random.Random) -> list[str]:
    """Other colours, none of them close to `colour` or to each other."""
    chosen: list[str] = []
    for other in chance.sample(tuple(COLOURS), len(COLOURS)):
        near = (colour, *chosen)
        if other != colour and not any(frozenset((other, one)) in ALIKE for one in near):
            chosen.append(other)
    return chosen[:count]


def _large(shape: str, colour: str, chance: random.Random) -> Figure:
    return Figure(
        shape,
        colour,
        (chance.uniform(0.38, 0.62), chance.uniform(0.38, 0.62)),
        chance.uniform(0.2, 0.32),
        chance.uniform(-_MOST_TURN_DEGREES, _MOST_TURN_DEGREES),
    )


def _scattered(count: int, shape: str, colour: str, chance: random.Random) -> tuple[Figure, ...]:
    """Alike figures, each in a cell of its own, so that none touches another."""
    cells = [(column, row) for row in range(_GRID) for column in range(_GRID)]
    side = 1 / _GRID
    return tuple(
        Figure(
            shape,
            colour,
            (
                (column + 0.5) * side + chance.uniform(-0.03, 0.03),
                (row + 0.5) * side + chance.uniform(-0.03, 0.03),
            ),
            chance.uniform(0.085, 0.1),
            chance.uniform(-_MOST_TURN_DEGREES, _MOST_TURN_DEGREES),
        )
        for column, row in chance.sample(cells, count)
    )


def _scene(figures: tuple[Figure, ...], chance: random.Random) -> Scene:
    return Scene(figures, chance.choice(PATTERNS), chance.randrange(1 << 31))
