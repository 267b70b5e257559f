import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.concepts.risk import CLEAN, LEVELS, Risk, worst

RISKS = st.from_type(Risk)


def risk(*levels: float, **types: float) -> Risk:
    one, two, three, four = levels
    return Risk((one, two, three, four), types or {"Hate": 0.5, CLEAN: 0.5})


def test_the_likeliest_level_and_type_are_named() -> None:
    said = risk(0.1, 0.6, 0.2, 0.1, Hate=0.7, Violence=0.2, clean=0.1)

    assert (said.level, said.type) == (1, "Hate")


def test_a_tie_goes_to_the_riskier() -> None:
    said = risk(0.4, 0.1, 0.1, 0.4, Hate=0.5, clean=0.5)

    assert (said.level, said.type) == (3, "Hate")


def test_a_clean_type_leaves_a_riskiest_one() -> None:
    said = risk(1.0, 0.0, 0.0, 0.0, Hate=0.1, Violence=0.2, clean=0.7)

    assert said.type == CLEAN


@given(RISKS)
def test_reaching_a_level_is_never_likelier_than_reaching_a_lower_one(said: Risk) -> None:
    chances = [said.at_least(level) for level in range(LEVELS)]

    assert chances == sorted(chances, reverse=True)
    assert chances[0] == pytest.approx(1.0)
    assert said.expected_level == pytest.approx(sum(chances[1:]))


@pytest.mark.parametrize(
    "levels",
    [
        (math.nan, 0.0, 0.0, 1.0),
        (0.5, 0.5, 0.5, 0.5),
        (0.2, 0.2, 0.2, 0.2),
        (-0.5, 0.5, 0.5, 0.5),
        (math.inf, 0.0, 0.0, 0.0),
    ],
)
def test_levels_that_are_no_distribution_are_not_usable(
    levels: tuple[float, float, float, float],
) -> None:
    assert not Risk(levels, {"Hate": 0.5, CLEAN: 0.5}).is_usable


@pytest.mark.parametrize("types", [{"Hate": 0.4, CLEAN: 0.4}, {"Hate": math.nan, CLEAN: 0.5}])
def test_types_that_are_no_distribution_are_not_usable(types: dict[str, float]) -> None:
    assert not Risk((1.0, 0.0, 0.0, 0.0), types).is_usable


def test_the_rounding_of_a_low_precision_softmax_is_usable() -> None:
    assert risk(0.998, 0.004, 0.001, 0.0).is_usable


@pytest.mark.parametrize("types", [{}, {CLEAN: 1.0}, {"Hate": 0.5, "Violence": 0.5}])
def test_types_without_clean_and_others_are_no_risk(types: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="risk types"):
        Risk((1.0, 0.0, 0.0, 0.0), types)


def test_another_number_of_levels_is_no_risk() -> None:
    with pytest.raises(ValueError, match="4 levels"):
        Risk((0.5, 0.5), {"Hate": 0.5, CLEAN: 0.5})  # type: ignore[arg-type]


def test_the_worst_of_nothing_is_nothing() -> None:
    assert worst([]) is None


def test_no_parts_warning_is_lost_behind_anothers() -> None:
    surely_one = risk(0.0, 1.0, 0.0, 0.0, Hate=0.9, clean=0.1)
    perhaps_three = risk(0.5, 0.0, 0.0, 0.5, Violence=0.6, clean=0.4)

    said = worst([surely_one, perhaps_three])

    assert said is not None
    assert said.levels == (0.0, 0.5, 0.0, 0.5)
    assert said.type == "Violence"


@given(st.lists(RISKS, min_size=1, max_size=3))
def test_the_worst_depends_on_no_order_and_is_at_least_each(parts: list[Risk]) -> None:
    said = worst(parts)

    assert said is not None
    assert said.is_usable
    assert all(worst(order) == said for order in permutations(parts))
    assert worst([*parts, *parts]) == said
    for part in parts:
        assert all(said.at_least(k) >= part.at_least(k) - 1e-9 for k in range(LEVELS))
