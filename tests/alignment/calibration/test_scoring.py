import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.calibration.scoring import (
    balanced_accuracy,
    best_threshold,
    brier,
    calibration_error,
    equal_mass_bins,
    equal_width_bins,
    error_by_chance,
    expected_error,
    log_loss,
)

HITS = np.array([False, False, True, True])
P = np.array([0.1, 0.3, 0.3, 0.9])

SAID = st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), min_size=1, max_size=60)


def arrays(said: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([hit for hit, _ in said], dtype=np.bool_), np.array([p for _, p in said])


def test_bins_of_equal_width_and_their_error() -> None:
    bins = equal_width_bins(HITS, P, bins=4)
    assert [(one.low, one.high, one.count) for one in bins] == [
        (0.0, 0.25, 1),
        (0.25, 0.5, 2),
        (0.75, 1.0, 1),
    ]
    assert [one.error for one in bins] == pytest.approx([0.1, 0.2, 0.1])
    assert expected_error(bins) == pytest.approx(0.15)


def test_bins_of_equal_mass_keep_equal_probabilities_together() -> None:
    bins = equal_mass_bins(HITS, P, bins=4)
    assert [(one.low, one.high, one.count) for one in bins] == [
        (0.1, 0.1, 1),
        (0.3, 0.3, 2),
        (0.9, 0.9, 1),
    ]
    assert (bins[1].mean_p, bins[1].share) == (pytest.approx(0.3), 0.5)


def test_bins_of_equal_mass_hold_as_many_examples_each() -> None:
    p = np.linspace(0.0, 1.0, 45) ** 3
    assert [one.count for one in equal_mass_bins(p > 0.5, p)] == [3] * 15


def test_two_probabilities_are_two_bins() -> None:
    bins = equal_mass_bins(np.array([True, False, True]), np.array([0.01, 0.99, 0.99]))
    assert [(one.count, one.error) for one in bins] == [
        (1, pytest.approx(0.99)),
        (2, pytest.approx(0.49)),
    ]


def test_one_probability_for_all_is_one_bin() -> None:
    (only,) = equal_mass_bins(HITS, np.full(4, 0.7))
    assert (only.count, only.error) == (4, pytest.approx(0.2))


def test_nothing_has_no_error() -> None:
    nothing, none = np.array([], dtype=np.bool_), np.array([])
    assert expected_error(equal_width_bins(nothing, none)) is None
    assert calibration_error(nothing, none) is None
    assert error_by_chance(none, seed=1) is None
    assert brier(nothing, none) is None
    assert log_loss(nothing, none) is None


@given(SAID, st.integers(1, 20))
def test_every_example_is_in_one_bin(said: list[tuple[bool, float]], bins: int) -> None:
    hits, p = arrays(said)
    for found in (equal_mass_bins(hits, p, bins=bins), equal_width_bins(hits, p, bins=bins)):
        assert sum(one.count for one in found) == len(said)
        assert sum(one.count * one.share for one in found) == pytest.approx(hits.sum())
        error = expected_error(found)
        if found == equal_mass_bins(hits, p):
            assert calibration_error(hits, p) == pytest.approx(error)
        assert error is not None
        assert 0.0 <= error <= 1.0


def test_right_probabilities_scatter_less_with_more_examples() -> None:
    p = np.random.default_rng(1).random(4000)
    few, many = error_by_chance(p[:200], seed=1), error_by_chance(p, seed=1)
    assert few is not None
    assert many is not None
    assert 0.05 < few < 0.15
    assert many < 0.03


def test_scores_by_hand() -> None:
    assert brier(HITS, P) == pytest.approx((0.01 + 0.09 + 0.49 + 0.01) / 4)
    assert log_loss(HITS, P) == pytest.approx(-np.log([0.9, 0.7, 0.3, 0.9]).mean())
    assert log_loss(HITS, np.array([0.0, 1.0, 1.0, 1.0])) == pytest.approx(-np.log(1e-7) / 4)
    assert balanced_accuracy(HITS, P, 0.5) == pytest.approx(0.75)
    assert balanced_accuracy(HITS, P, 0.3) == pytest.approx(0.75)
    assert balanced_accuracy(np.array([True]), np.array([0.4]), 0.5) is None


@given(SAID)
def test_no_threshold_beats_the_best(said: list[tuple[bool, float]]) -> None:
    hits, p = arrays(said)
    best = best_threshold(hits, p)
    if hits.all() or not hits.any():
        assert best is None
        return
    assert best is not None
    assert balanced_accuracy(hits, p, best.at) == pytest.approx(best.balanced_accuracy)
    for threshold in (*p.tolist(), 0.5):
        reached = balanced_accuracy(hits, p, threshold)
        assert reached is not None
        assert reached <= best.balanced_accuracy + 1e-9


def test_of_equally_good_thresholds_the_most_central_is_named() -> None:
    best = best_threshold(np.array([False, True, False, True]), np.array([0.1, 0.2, 0.5, 0.7]))
    assert best is not None
    assert (best.at, best.balanced_accuracy) == (pytest.approx(0.6), pytest.approx(0.75))
