import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import (
    Bootstrap,
    auc,
    balanced_top1,
    difference,
    percentiles,
    recalls,
    share,
    spread,
)


def test_auc_by_hand() -> None:
    # Of the four pairs of one unsafe and one safe example three are in the right order.
    labels = np.array([True, True, False, False])

    assert auc(labels, np.array([0.9, 0.4, 0.5, 0.1])) == pytest.approx(0.75)


def test_auc_counts_a_tie_as_half() -> None:
    assert auc(np.array([True, False]), np.array([0.3, 0.3])) == pytest.approx(0.5)


def test_auc_leaves_out_examples_without_an_answer() -> None:
    labels = np.array([True, False, True])

    assert auc(labels, np.array([0.9, 0.1, np.nan])) == 1.0


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_auc_of_one_class_is_unknown(labels: list[bool]) -> None:
    assert auc(np.array(labels, dtype=np.bool_), np.zeros(len(labels))) is None


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=30))
def test_auc_of_the_opposite_judgement_mirrors(examples: list[tuple[bool, float]]) -> None:
    labels = np.array([unsafe for unsafe, _ in examples])
    # Rounded, so that 1 - p keeps ties and differences.
    scores = np.round(np.array([p for _, p in examples]), 3)
    found, mirrored = auc(labels, scores), auc(labels, np.round(1 - scores, 3))

    assert (found is None) == (mirrored is None)
    if found is not None and mirrored is not None:
        assert found + mirrored == pytest.approx(1.0)


def test_a_share_of_nothing_is_unknown() -> None:
    assert share(np.array([], dtype=np.bool_)) is None
    assert share(np.array([True, False, False, False])) == 0.25


def test_a_difference_needs_both() -> None:
    assert difference(0.75, 0.5) == 0.25
    assert difference(None, 0.5) is None
    assert difference(0.5, None) is None


def test_recalls_and_their_balanced_mean_by_hand() -> None:
    truth = ["a", "a", "a", "a", "b"]
    predicted = ["a", "a", "a", "b", None]

    assert recalls(truth, predicted) == {"a": 0.75, "b": 0.0}
    assert balanced_top1(truth, predicted) == pytest.approx(0.375)
    assert balanced_top1([], []) is None


def test_the_bootstrap_is_deterministic_in_its_seed() -> None:
    values = np.arange(40.0)
    groups = [str(index) for index in range(40)]

    def estimate(seed: int) -> object:
        bootstrap = Bootstrap(groups, seed=seed, resamples=50)
        return bootstrap.estimate(lambda drawn: float(values[drawn].mean()))

    assert estimate(1) == estimate(1)
    assert estimate(1) != estimate(2)


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    bootstrap = Bootstrap([str(index) for index in range(400)], seed=1, resamples=2000)
    found = bootstrap.estimate(lambda drawn: float(values[drawn].mean()))
    half_width = 1.96 * values.std() / math.sqrt(400)

    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half_width, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half_width, abs=0.02)


def test_near_duplicates_are_drawn_together() -> None:
    groups = ["twins", "twins", "alone"]
    bootstrap = Bootstrap(groups, seed=3, resamples=200)
    drawn_twins: list[tuple[int, int]] = []

    def count(drawn: np.ndarray) -> float:
        drawn_twins.append((int((drawn == 0).sum()), int((drawn == 1).sum())))
        return 0.0

    bootstrap.estimate(count)

    assert all(first == second for first, second in drawn_twins)
    assert {first for first, _ in drawn_twins} == {0, 1, 2}


def test_draws_without_a_value_are_left_out_and_all_of_them_give_no_interval() -> None:
    bootstrap = Bootstrap(["a", "b"], seed=0, resamples=20)
    only_when_both = bootstrap.estimate(lambda drawn: 1.0 if len(set(drawn)) == 2 else None)
    never = bootstrap.estimate(lambda drawn: None)

    assert (only_when_both.value, only_when_both.low, only_when_both.high) == (1.0, 1.0, 1.0)
    assert (never.value, never.low, never.high) == (None, None, None)


def test_percentiles_by_hand() -> None:
    found = percentiles([float(value) for value in range(101)])

    assert found is not None
    assert (found.count, found.p50, found.p90, found.p99, found.maximum) == (101, 50, 90, 99, 100)
    assert percentiles([]) is None


def test_a_spread_is_median_and_range() -> None:
    found = spread([3.0, 1.0, 2.0])

    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="no measurements"):
        spread([])
