"""Every figure of a replay against values computed by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.replay.accuracy import accuracy_of
from benchmarks.replay.latency import latency_of
from benchmarks.replay.rows import Row
from benchmarks.stats import average_precision, false_positive_rate

Make = Callable[..., Row]


def labelled(row: Make, *scored: tuple[bool, float | None]) -> list[Row]:
    return [row(f"p{n}", unsafe=unsafe, p_unsafe=p) for n, (unsafe, p) in enumerate(scored)]


def test_the_overall_figures(row: Make) -> None:
    rows = labelled(row, (True, 0.9), (True, 0.7), (True, 0.2), (False, 0.8), (False, 0.1))
    found = accuracy_of(rows, seed=1, resamples=20)

    # Of six pairs of an unsafe and a safe picture .9 wins two, .7 and .2 one each.
    assert found.auc.value == pytest.approx(4 / 6)
    # Found at ranks 1, 3 and 4 of the five.
    assert found.auprc.value == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    assert found.recall.value == pytest.approx(2 / 3)
    assert found.specificity.value == pytest.approx(1 / 2)
    assert found.balanced_accuracy.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    # To find 95% of three, all three: from .2 up, where one of two safe ones lies.
    assert found.fpr_at_95_recall.value == pytest.approx(1 / 2)
    assert found.brier.value == pytest.approx((0.01 + 0.09 + 0.64 + 0.64 + 0.01) / 5)
    assert found.no_answer_rate.value == 0.0
    assert (found.requests, found.answers, found.unsafe_answers) == (5, 5, 3)


def test_what_was_not_answered_is_not_judged_and_what_could_not_tell_is(row: Make) -> None:
    rows = [
        row("u1", p_unsafe=0.9),
        row("u2", p_unsafe=None),
        row("u3", end="refused"),
        row("u4", end="error"),
        row("s1", unsafe=False, p_unsafe=0.1),
    ]
    found = accuracy_of(rows, seed=1, resamples=20)

    assert (found.requests, found.answers) == (5, 3)
    assert found.recall.value == 0.5
    assert found.no_answer_rate.value == pytest.approx(1 / 3)
    assert found.auc.value == 1.0


def test_nothing_is_made_up_where_there_is_nothing(row: Make) -> None:
    found = accuracy_of([row("u1", end="cancelled")], seed=1, resamples=20)

    assert found.auc.value is None
    assert found.fpr_at_95_recall.value is None
    assert found.ece.value is None
    assert found.by_category == {}
    assert found.reliability == ()


def test_categories_and_concepts(row: Make) -> None:
    hate = {"category": "Hate", "concept": "Swastika"}
    rows = [
        row("v1", p_unsafe=0.9, scores={"Violence": 0.9, "Hate": 0.3}, seen_concept="Gun violence"),
        row("v2", p_unsafe=0.4, scores={"Violence": 0.4, "Hate": 0.1}, seen_concept="Arson"),
        row("h1", p_unsafe=0.7, scores={"Violence": 0.7, "Hate": 0.2}, **hate),
        row("s1", unsafe=False, p_unsafe=0.5, scores={"Violence": 0.5, "Hate": 0.0}),
    ]
    found = accuracy_of(rows, seed=1, resamples=20)

    violence = found.by_category["Violence"]
    assert (violence.answers, violence.recall.value) == (2, 0.5)
    assert violence.auc.value == 0.5  # .9 beats .5, .4 does not; the other category is left out
    assert violence.own_auc.value == 0.5  # .9 beats both others, .4 neither
    assert found.by_category["Hate"].own_auc.value == pytest.approx(2 / 3)
    guns = found.by_concept["Gun violence"]
    assert (guns.answers, guns.judged_unsafe, guns.recognised) == (2, 0.5, 0.5)
    assert guns.mean_p_unsafe == pytest.approx(0.65)
    assert found.by_concept["Swastika"].recognised is None


def test_scores_by_the_contracts_keys_stand_in_for_categories(row: Make) -> None:
    rows = [
        row("v1", scores={"violence": 0.8, "violence/graphic": 0.1, "hate": 0.9}),
        row("s1", unsafe=False, scores={"violence": 0.3, "violence/graphic": 0.6, "hate": 0.9}),
    ]
    own = accuracy_of(rows, seed=1, resamples=20).by_category["Violence"].own_auc

    assert own.value == 1.0  # .8 against .6: of several keys the highest speaks


def test_passes_over_one_picture_are_drawn_together(row: Make) -> None:
    once = [row(f"u{n}", p_unsafe=n / 10) for n in range(10)]
    once += [row(f"s{n}", unsafe=False, p_unsafe=n / 12) for n in range(10)]
    alone = accuracy_of(once, seed=1, resamples=200)
    often = accuracy_of(once * 5, seed=1, resamples=200)

    assert often.recall == alone.recall


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([1, 0], [0.9, 0.1], 1.0),
        ([0, 1], [0.9, 0.1], 0.5),
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 0], [0.9, 0.1], None),
        ([1, 0, 1], [0.9, 0.1, np.nan], 1.0),
    ],
)
def test_average_precision(labels: list[int], scores: list[float], expected: float | None) -> None:
    assert average_precision(np.array(labels, bool), np.array(scores)) == expected


def test_average_precision_is_what_scikit_learn_says() -> None:
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(3)
    labels, scores = random.random(200) < 0.3, np.round(random.random(200), 2)

    assert average_precision(labels, scores) == pytest.approx(
        average_precision_score(labels, scores)
    )


@pytest.mark.parametrize(
    ("unsafe", "safe", "at_recall", "expected"),
    [
        ([0.9] * 19 + [0.1], [0.5, 0.05], 0.95, 0.0),
        ([0.9] * 19 + [0.1], [0.5, 0.05], 0.96, 0.5),
        ([0.4], [0.4], 0.95, 1.0),
        ([0.4], [], 0.95, None),
        ([], [0.4], 0.95, None),
    ],
)
def test_false_positives_at_a_recall(
    unsafe: list[float], safe: list[float], at_recall: float, expected: float | None
) -> None:
    labels = np.array([True] * len(unsafe) + [False] * len(safe))
    found = false_positive_rate(labels, np.array(unsafe + safe), at_recall=at_recall)

    assert found == expected


def test_speed_by_how_requests_ended(row: Make) -> None:
    rows = [
        row("a", due_s=0.0, latency_ms=100.0),
        row("b", due_s=0.5, latency_ms=900.0, sent_s=0.6, service_ms=800.0),
        row("c", due_s=1.0, latency_ms=5.0, end="refused", code="overloaded"),
        row("d", due_s=1.0, latency_ms=1000.0, end="cancelled", code="gave_up"),
    ]
    found = latency_of(rows, objective_ms=500.0)

    assert found.seconds == pytest.approx(2.0)
    assert found.offered_per_s == pytest.approx(2.0)
    assert found.throughput_per_s == pytest.approx(1.0)
    assert found.goodput_per_s == pytest.approx(0.5)
    assert found.goodput_share == 0.25
    assert found.codes == {"overloaded": 1, "gave_up": 1}
    ok, refused = found.by_end["ok"], found.by_end["refused"]
    assert ok.count == 2
    assert ok.latency_ms is not None
    assert (ok.latency_ms.p50, ok.latency_ms.maximum) == (500.0, 900.0)
    assert ok.service_ms is not None
    assert ok.service_ms.maximum == 800.0
    assert refused.latency_ms is not None
    assert (refused.share, refused.latency_ms.p99) == (0.25, 5.0)
    assert found.by_end["error"].latency_ms is None
    assert found.lag_ms is not None
    assert found.lag_ms.maximum == pytest.approx(100.0)
