import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from benchmarks.resampling import Drawn
from benchmarks.significance import bootstrap_p, holm, mcnemar_p, swap_p


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_with_one_question_a_group_it_is_mcnemars_exact_test(
    only_a: int, only_b: int, both: int
) -> None:
    differences = np.array([-1.0] * only_a + [1.0] * only_b + [0.0] * both)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0

    assert mcnemar_p(differences) == pytest.approx(expected)


@given(st.lists(st.integers(-5, 5), max_size=9))
def test_it_counts_every_way_of_swapping_the_models(differences: list[int]) -> None:
    found = abs(sum(differences))
    swapped = [
        abs(sum(sign * one for sign, one in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]

    assert mcnemar_p(np.array(differences, dtype=np.float64)) == pytest.approx(
        sum(one >= found for one in swapped) / len(swapped)
    )


def test_five_answers_about_one_picture_are_no_five_witnesses() -> None:
    # Two groups that differ in all five answers: of four swaps two are as extreme.
    assert mcnemar_p(np.array([5.0, 5.0])) == pytest.approx(0.5)
    assert binomtest(10, 10).pvalue < 0.01  # What counting answers one by one would claim.


def test_fractional_scores_are_counted_in_hundredths() -> None:
    assert mcnemar_p(np.array([0.2, 0.4, 0.2])) == pytest.approx(0.25)
    assert mcnemar_p(np.array([0.1, -0.1 + 1e-12])) == 1.0


def test_the_p_value_of_thousands_of_groups_is_still_sound() -> None:
    differences = np.array([1.0] * 1600 + [-1.0] * 1400)

    assert mcnemar_p(differences) == pytest.approx(binomtest(1600, 3000).pvalue)


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_swapping_the_models_changes_no_p_value(differences: list[int]) -> None:
    one = np.array(differences, dtype=np.float64)

    assert mcnemar_p(one) == mcnemar_p(-one)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=7))
def test_random_swaps_come_near_all_swaps(parts: list[tuple[int, int]]) -> None:
    def difference(pairs: Sequence[tuple[int, int]]) -> int:
        return abs(sum(b for _, b in pairs)) - abs(sum(a for a, _ in pairs))

    swapped = [
        difference([pair[::-1] if swap else pair for pair, swap in zip(parts, swaps, strict=True)])
        for swaps in itertools.product((False, True), repeat=len(parts))
    ]
    expected = sum(abs(one) >= abs(difference(parts)) for one in swapped) / len(swapped)
    a, b = (np.array(side, dtype=np.float64) / 7 for side in zip(*parts, strict=True))

    assert swap_p(a, b, seed=1) == pytest.approx(expected, abs=0.03)


def test_the_size_of_a_figure_has_no_sign() -> None:
    a = np.full(12, 0.01)

    assert swap_p(a, -a, seed=1) == 1.0
    assert swap_p(a, 10 * a, seed=1) < 0.01
    assert swap_p(10 * a, a, seed=1) < 0.01


def test_the_bootstraps_p_value_is_that_of_students_t_for_so_many_groups() -> None:
    draws = np.array([0.1, 0.2, 0.3, 0.4, np.nan])
    deviation = math.sqrt(0.05 / 3)

    # With one degree of freedom t is the Cauchy distribution, with many the normal one.
    assert bootstrap_p(Drawn(0.25, draws, groups=2)) == pytest.approx(
        1 - 2 / math.pi * math.atan(0.25 / deviation)
    )
    assert bootstrap_p(Drawn(0.25, draws, groups=10**6)) == pytest.approx(
        2 * norm.sf(0.25 / deviation), rel=1e-4
    )


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (Drawn(math.nan, np.array([0.1, 0.2]), groups=5), None),
        (Drawn(0.1, np.array([0.1, 0.2]), groups=1), None),
        (Drawn(0.1, np.array([0.1, 0.1]), groups=5), None),
        (Drawn(0.0, np.array([0.0, 0.0]), groups=5), 1.0),
    ],
)
def test_without_a_spread_there_is_no_p_value(drawn: Drawn, expected: float | None) -> None:
    assert bootstrap_p(drawn) == expected


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, 0.03 * 2 (not below the one before), 0.9 * 1.
    assert holm([0.9, 0.02, 0.01, 0.03]) == pytest.approx([0.9, 0.06, 0.04, 0.06])


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([None, 0.03, None]) == [None, 0.03, None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_never_helps(p_values: list[float]) -> None:
    corrected = holm(p_values)

    assert all(
        after is not None and before <= after <= 1.0
        for before, after in zip(p_values, corrected, strict=True)
    )
    ranked = [
        after for _, after in sorted(zip(p_values, corrected, strict=True), key=lambda p: p[0])
    ]
    assert ranked == sorted(ranked, key=float)
