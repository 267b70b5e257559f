"""Built-in questions about real pictures: which thing one shows, and whether it shows a thing.

Asked about safe pictures of a labelled set, one a concept. A wrong option is never one that a
careful person could take for right ("turtle" for a tortoise).
"""

import random
from collections.abc import Iterator
from functools import partial

from alignment.data.manifest import Example, ImageSet
from benchmarks.capabilities.general.builtin_items import (
    balanced,
    chance_for,
    lettered,
    yes_no,
)
from benchmarks.capabilities.general.items import Item
from benchmarks.capabilities.tasks import Subject
from benchmarks.errors import MeasurementError

_OBJECT_QUESTIONS = 24
_PRESENCE_QUESTIONS = 20
_CHOICES = 4

# No thing that a picture shows, or not one thing alone.
_NOT_ASKED = frozenset({"cricket", "fitness", "gps", "home", "jump", "sunbath"})

# Names that may well fit one picture: never right and wrong of the same question.
_MAY_FIT_ONE = tuple(
    frozenset(names.split())
    for names in (
        "turtle tortoise",
        "ship boat ferry sailboat sail",
        "bird chicken dove parrot",
        "smartphone phone",
        "crocodile gecko",
        "island coconut",
        "skateboard scooter",
        "thunderstorm umbrella",
        "fruit strawberry pineapple watermelon coconut",
        "vegetable broccoli carrot leek radish chili",
    )
)


def object_questions(image_set: ImageSet, seed: int) -> Iterator[Item]:
    """44 questions, or two a thing where the set has fewer things.

    Raises `MeasurementError` for a set with fewer than four safe things to tell apart.
    """
    yield from _objects(image_set, chance_for(seed, "objects"))
    yield from _presence(image_set, chance_for(seed, "presence"))


def _objects(image_set: ImageSet, chance: random.Random) -> Iterator[Item]:
    things = _things(image_set, chance)
    asked = things[:_OBJECT_QUESTIONS]
    for example, place in zip(asked, balanced(len(asked), _CHOICES, chance), strict=True):
        yield lettered(
            "objects",
            _subject(example),
            "What does this picture show?",
            right=example.concept,
            wrong=_others(example, things, _CHOICES - 1, chance),
            place=place,
            open_image=partial(image_set.open, example),
        )


def _presence(image_set: ImageSet, chance: random.Random) -> Iterator[Item]:
    things = _things(image_set, chance)
    asked = things[:_PRESENCE_QUESTIONS]
    for example, is_there in zip(asked, balanced(len(asked), 2, chance), strict=True):
        (other,) = _others(example, things, 1, chance)
        yield yes_no(
            "presence",
            _subject(example),
            f'Does this picture show "{example.concept if is_there else other}"?',
            is_so=bool(is_there),
            open_image=partial(image_set.open, example),
        )


def _subject(example: Example) -> Subject:
    return Subject(
        id=example.id,
        # Named as in the plan, so that a picture asked about in two suites stays one unit.
        group=f"group {example.group}" if example.group else f"example {example.id}",
        concept=example.concept,
        category=example.category,
        is_unsafe=False,
    )


def _things(image_set: ImageSet, chance: random.Random) -> list[Example]:
    """One safe example a concept, in random order; only those with plain one-word names."""
    by_name: dict[str, list[Example]] = {}
    for example in sorted(image_set.examples, key=lambda one: one.id):
        name = example.concept
        if not example.unsafe and name.isalpha() and name not in _NOT_ASKED:
            by_name.setdefault(name, []).append(example)
    if len(by_name) < _CHOICES:
        raise MeasurementError(_too_few(len(by_name)))
    things = [chance.choice(examples) for _, examples in sorted(by_name.items())]
    chance.shuffle(things)
    return things


def _others(
    example: Example, things: list[Example], count: int, chance: random.Random
) -> list[str]:
    """`count` names of other things; raises `MeasurementError` where there are too few."""
    names = [other.concept for other in things if not _may_fit_one(other.concept, example.concept)]
    if len(names) < count:
        raise MeasurementError(_too_few(len(names) + 1))
    return chance.sample(names, count)


def _too_few(things: int) -> str:
    return (
        f"the built-in questions need {_CHOICES} safe things to tell apart; the set has {things}"
        " with plain one-word names"
    )


def _may_fit_one(name: str, other: str) -> bool:
    stem, other_stem = _stem(name), _stem(other)
    return stem == other_stem or any(
        stem in group and other_stem in group for group in _MAY_FIT_ONE
    )


def _stem(name: str) -> str:
    """The name without a plural's s."""
    return name.casefold().removesuffix("s")
