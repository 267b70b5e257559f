import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.robustness_figures import (
    Perturbed,
    RobustnessFigures,
    measure_robustness,
    rank_correlation,
)

NAN = math.nan
BEFORE = [0.9, 0.55, 0.2, 0.45, NAN]
CONTROL = [0.9, 0.55, 0.2, 0.45, 0.4]
MIRRORED = [0.3, 0.45, 0.25, NAN, 0.9]
CROPPED = [0.8, 0.6, 0.1, 0.55, NAN]


def measured(threshold: float = 0.5, margin: float = 0.1) -> RobustnessFigures:
    return measure_robustness(
        Perturbed(
            groups=list("abcde"),
            names=["same pixels", "mirrored", "cropped"],
            is_control=[True, False, False],
            before=np.array(BEFORE),
            after=np.array([CONTROL, MIRRORED, CROPPED]).T,
        ),
        threshold=threshold,
        margin=margin,
        seed=1,
        resamples=50,
    )


def test_a_change_by_hand() -> None:
    _, mirrored, cropped = measured().changes

    assert (mirrored.pairs, mirrored.lost, mirrored.beyond_margin) == (3, 1, 2)
    assert mirrored.flips.value == pytest.approx(2 / 3)  # 0.9 to 0.3, 0.55 to 0.45
    assert mirrored.flips_beyond_margin.value == pytest.approx(1 / 2)  # of 0.9 and 0.2
    assert mirrored.mean_abs_shift.value == pytest.approx((0.6 + 0.1 + 0.05) / 3)
    assert mirrored.mean_shift.value == pytest.approx((-0.6 - 0.1 + 0.05) / 3)
    assert mirrored.rank_correlation.value == pytest.approx(0.5)  # 3 2 1 against 2 3 1
    assert (cropped.pairs, cropped.lost) == (4, 0)
    assert cropped.flips.value == pytest.approx(1 / 4)
    assert cropped.flips_beyond_margin.value == 0.0


def test_all_changes_together_leave_the_control_out() -> None:
    figures = measured()

    assert (figures.pictures, figures.no_answer) == (5, 1)
    assert figures.changes[0].flips.value == 0.0
    assert figures.flips.value == pytest.approx(3 / 7)
    assert figures.flips_beyond_margin.value == pytest.approx(1 / 4)
    assert figures.flipped_by_any.value == pytest.approx(3 / 4)
    assert figures.flipped_by_any_beyond_margin.value == pytest.approx(1 / 2)


def test_threshold_and_margin_are_respected() -> None:
    wide = measured(margin=0.45).changes[1]
    assert wide.beyond_margin == 0
    assert wide.flips_beyond_margin.value is None
    low = measured(threshold=0.22, margin=0.0).changes[2]
    assert low.flips.value == 0.0


def test_intervals_contain_the_value() -> None:
    found = measured().changes[1].mean_abs_shift
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_no_flip_among_few_pictures_is_no_proof_that_there_is_none() -> None:
    cropped = measured().changes[2]
    assert cropped.flips_beyond_margin.low == 0.0
    # Two pictures: a share p shows itself in neither with (1 - p)^2 >= 0.025.
    assert cropped.flips_beyond_margin.high == pytest.approx(1 - 0.025**0.5)


def test_without_pictures_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        measure_robustness(
            Perturbed([], [], [], np.array([]), np.empty((0, 0))),
            threshold=0.5,
            margin=0.1,
            seed=1,
            resamples=1,
        )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0.1, 0.2, 0.3], [0.5, 0.6, 0.9], 1.0),
        ([0.1, 0.2, 0.3], [0.9, 0.6, 0.5], -1.0),
        ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5], None),
        ([0.1], [0.5], None),
        ([], [], None),
    ],
)
def test_rank_correlation(one: list[float], other: list[float], expected: float | None) -> None:
    found = rank_correlation(np.array(one), np.array(other))
    assert found == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30, unique=True))
def test_a_change_that_keeps_the_order_correlates_fully(p: list[float]) -> None:
    ranks = np.argsort(np.argsort(p)).astype(float)
    assert rank_correlation(np.array(p), ranks) == pytest.approx(1.0)
