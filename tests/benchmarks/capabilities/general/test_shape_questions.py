"""The pictures are measured here, not taken from the plan: an answer must be what is to be seen."""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.capabilities.general.items import Item
from benchmarks.capabilities.general.shape_questions import shape_questions
from benchmarks.capabilities.general.shapes import ALIKE, COLOURS

ITEMS = list(shape_questions(2024))


def _of(subtask: str) -> list[Item]:
    return [item for item in ITEMS if item.subtask == subtask]


def _names(items: list[Item]) -> list[str]:
    return [item.subject.id for item in items]


def _mask(item: Item, colour: str) -> NDArray[np.bool_]:
    pixels = np.asarray(item.open_image()).astype(int)
    return np.abs(pixels - np.array(COLOURS[colour])).max(axis=-1) < 12


def _right_name(item: Item) -> str:
    return item.names[item.options.index(item.right)]


def _fill(mask: NDArray[np.bool_]) -> float:
    rows, columns = np.nonzero(mask)
    return float(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].mean())


@pytest.mark.parametrize("item", _of("colours"), ids=_names(_of("colours")))
def test_the_right_colour_is_the_one_that_is_there(item: Item) -> None:
    shares = {name: _mask(item, name).mean() for name in item.names}

    assert max(shares, key=lambda name: shares[name]) == _right_name(item)
    assert sum(share > 0.01 for share in shares.values()) == 1


@pytest.mark.parametrize("item", _of("colours"), ids=_names(_of("colours")))
def test_no_two_options_are_easily_taken_for_each_other(item: Item) -> None:
    assert not any(frozenset((one, other)) in ALIKE for one in item.names for other in item.names)


@pytest.mark.parametrize("item", _of("counts"), ids=_names(_of("counts")))
def test_the_right_count_is_the_number_of_separate_figures(item: Item) -> None:
    colour = item.prompt.split()[2]

    # Eight neighbours count: a thin tip is one pixel wide and may run diagonally.
    _, count = ndimage.label(_mask(item, colour), structure=np.ones((3, 3)))

    assert count == int(_right_name(item))


@pytest.mark.parametrize("item", _of("sides"), ids=_names(_of("sides")))
def test_the_right_side_is_where_the_figure_is(item: Item) -> None:
    words = item.prompt.rstrip("?").split()
    first, second = words[2], words[words.index("of") + 2]

    centres = [np.nonzero(_mask(item, colour))[1].mean() for colour in (first, second)]

    assert (centres[0] < centres[1]) == (item.right == "yes")


def test_shapes_look_like_their_names() -> None:
    fills: dict[str, list[float]] = {}
    for item in _of("shapes"):
        colour = item.prompt.split()[6]
        fills.setdefault(_right_name(item), []).append(_fill(_mask(item, colour)))

    # A turned square still fills more of its box than a circle, and a circle more than a triangle.
    assert min(fills["circle"]) > max(fills["triangle"])
    assert np.mean(fills["circle"]) == pytest.approx(np.pi / 4, abs=0.03)
    assert max(fills["star"]) < min(fills["circle"])


@pytest.mark.parametrize(("subtask", "letters"), [("colours", 4), ("shapes", 4), ("counts", 5)])
def test_every_letter_is_right_equally_often(subtask: str, letters: int) -> None:
    counted = Counter(item.right for item in _of(subtask))

    assert len(counted) == letters
    assert len(set(counted.values())) == 1


def test_half_of_the_yes_no_questions_are_answered_by_yes() -> None:
    counted = Counter(item.right for item in _of("sides"))

    assert counted["yes"] == counted["no"] == 4


def test_every_option_is_named_in_the_prompt_and_none_twice() -> None:
    for item in ITEMS:
        if item.kind == "lettered":
            assert len(set(item.names)) == len(item.names)
            for letter, name in zip(item.options, item.names, strict=True):
                assert f"\n{letter}. {name}\n" in item.prompt


def test_the_same_seed_asks_the_same_and_another_something_else() -> None:
    again = [(item.prompt, item.right) for item in shape_questions(2024)]
    other = [(item.prompt, item.right) for item in shape_questions(7)]

    assert again == [(item.prompt, item.right) for item in ITEMS]
    assert other != again
    assert [one.open_image().tobytes() for one in ITEMS[:3]] == [
        one.open_image().tobytes() for one in list(shape_questions(2024))[:3]
    ]
