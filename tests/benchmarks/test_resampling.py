import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.resampling import CountBootstrap, Drawn
from benchmarks.stats import Bootstrap, Estimate, auc, share

GROUPS = [f"g{index % 17}" for index in range(60)]
HITS = np.random.default_rng(5).random(60) < 0.4
COUNTED = np.random.default_rng(6).random(60) < 0.8
SCORES = np.round(np.random.default_rng(7).random(60), 1)


def test_ratios_have_the_intervals_of_the_slow_bootstrap() -> None:
    slow = Bootstrap(GROUPS, seed=3, resamples=200)
    fast = CountBootstrap(GROUPS, seed=3, resamples=200)

    found = (fast.sum(HITS & COUNTED) / fast.sum(COUNTED)).estimate()
    expected = slow.estimate(lambda drawn: share(HITS[drawn][COUNTED[drawn]]))

    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_aucs_have_the_intervals_of_the_slow_bootstrap() -> None:
    scores = np.where(COUNTED, SCORES, np.nan)
    slow = Bootstrap(GROUPS, seed=3, resamples=200)
    fast = CountBootstrap(GROUPS, seed=3, resamples=200)

    found = fast.auc(HITS, scores).estimate()
    expected = slow.estimate(lambda drawn: auc(HITS[drawn], scores[drawn]))

    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_the_auc_is_that_of_scikit_learn(examples: list[tuple[bool, int]]) -> None:
    labels = np.array([unsafe for unsafe, _ in examples], dtype=np.bool_)
    scores = np.array([score / 5 for _, score in examples], dtype=np.float64)
    bootstrap = CountBootstrap([str(i) for i in range(len(examples))], seed=0, resamples=1)

    expected = auc(labels, scores)

    assert bootstrap.auc(labels, scores).estimate().value == (
        expected if expected is None else pytest.approx(expected)
    )


def test_the_draws_depend_on_the_seed_alone() -> None:
    def interval(seed: int) -> Estimate:
        return CountBootstrap(GROUPS, seed=seed, resamples=50).sum(SCORES).estimate()

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)


def test_sums_are_exact_so_that_no_order_of_adding_shows() -> None:
    thirds = np.full(60, 1 / 3)
    one = CountBootstrap(GROUPS, seed=1, resamples=50).sum(thirds)

    assert one.value == pytest.approx(20.0, abs=1e-7)
    # Every partial sum is a multiple of 2^-30 far below 2^53 of them: nothing is ever rounded.
    assert (one.draws * 2**30 == np.round(one.draws * 2**30)).all()


def test_sums_by_group_keep_the_order_in_which_groups_occur() -> None:
    bootstrap = CountBootstrap(["b", "a", "b"], seed=0, resamples=1)

    assert bootstrap.by_group(np.array([1.0, 2.0, 4.0])).tolist() == [5.0, 2.0]


def test_a_ratio_with_nothing_to_divide_by_is_unknown() -> None:
    bootstrap = CountBootstrap(["a", "b"], seed=0, resamples=20)
    nothing = np.zeros(2)

    assert (bootstrap.sum(nothing) / bootstrap.sum(nothing)).share() == Estimate(None, None, None)


def test_draws_without_a_value_are_left_out() -> None:
    found = Drawn(0.5, np.array([0.4, np.nan, 0.4]), groups=2).estimate()

    assert found == Estimate(0.5, 0.4, 0.4)


def test_one_group_says_nothing_about_others() -> None:
    bootstrap = CountBootstrap(["a", "a", "b"], seed=0, resamples=20)
    of_a, hits = np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])

    assert (bootstrap.sum(hits) / bootstrap.sum(of_a)).share() == Estimate(0.5, None, None)


@pytest.mark.parametrize(
    ("hits", "groups", "low", "high"),
    [
        (1, 1, 0.025, 1.0),  # 0.025 ** 1
        (1, 2, 0.1581, 1.0),  # sqrt(0.025)
        (1, 10, 0.6915, 1.0),  # as scipy.stats.binomtest(10, 10).proportion_ci() has it
        (0, 10, 0.0, 0.3085),
    ],
)
def test_unanimous_groups_get_the_exact_bound(
    hits: int, groups: int, low: float, high: float
) -> None:
    bootstrap = CountBootstrap([str(index) for index in range(groups)], seed=0, resamples=50)
    found = (bootstrap.sum(np.full(groups, hits)) / bootstrap.sum(np.ones(groups))).share()

    assert found.value == hits
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_exact_bound_counts_groups_not_rows() -> None:
    bootstrap = CountBootstrap(["a"] * 5 + ["b"] * 5, seed=0, resamples=50)
    found = (bootstrap.sum(np.ones(10)) / bootstrap.sum(np.ones(10))).share()

    assert found.low == pytest.approx(0.1581, abs=1e-4)


def test_an_auc_rests_on_the_groups_of_the_rarer_label() -> None:
    bootstrap = CountBootstrap(["a", "a", "b", "c", "d"], seed=0, resamples=20)
    unsafe = np.array([True, True, False, False, False])

    assert bootstrap.auc(unsafe, np.array([0.1, 0.9, 0.2, 0.3, 0.4])).groups == 1


def test_no_rows_give_no_figure() -> None:
    bootstrap = CountBootstrap([], seed=0, resamples=10)
    nothing = np.zeros(0)

    assert (bootstrap.sum(nothing) / bootstrap.sum(nothing)).share().value is None
    assert bootstrap.auc(nothing.astype(np.bool_), nothing).share().value is None
