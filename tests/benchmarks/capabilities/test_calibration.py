from collections.abc import Callable

import pytest

from benchmarks.capabilities.calibration import calibration_of
from benchmarks.capabilities.schema import AnswerRow, Calibration
from benchmarks.resampling import CountBootstrap

Row = Callable[..., AnswerRow]


def calibration(rows: list[AnswerRow]) -> Calibration | None:
    bootstrap = CountBootstrap([row.group for row in rows], seed=1, resamples=100)
    return calibration_of(rows, bootstrap)


def judged(answer_row: Row, *answers: tuple[bool, float | None]) -> list[AnswerRow]:
    return [
        answer_row(f"p{index}", is_unsafe=unsafe, p_unsafe=p)
        for index, (unsafe, p) in enumerate(answers)
    ]


def test_the_calibration_error_by_hand(answer_row: Row) -> None:
    found = calibration(
        judged(answer_row, (True, 0.90), (True, 0.92), (False, 0.91), (False, 0.02))
    )

    assert found is not None
    low, high = found.bins
    assert (low.low, low.high, low.count) == (0.0, pytest.approx(1 / 15), 1)
    assert (high.low, high.high, high.count) == (pytest.approx(13 / 15), pytest.approx(14 / 15), 3)
    assert (high.mean_p_unsafe, high.share_unsafe) == pytest.approx((0.91, 2 / 3))
    # A quarter of the answers is off by 0.02, three quarters by 0.91 - 2/3.
    assert found.ece == pytest.approx(0.25 * 0.02 + 0.75 * (0.91 - 2 / 3))
    assert found.auc.value == pytest.approx(0.75)


def test_perfect_probabilities_have_no_error(answer_row: Row) -> None:
    found = calibration(judged(answer_row, (True, 1.0), (False, 0.0), (True, 1.0)))

    assert found is not None
    assert found.ece == 0.0
    assert found.bins[-1].high == 1.0
    assert found.auc.value == 1.0
    # One safe picture: its exact bound, not an interval without width.
    assert (found.auc.low, found.auc.high) == (pytest.approx(0.025), 1.0)


def test_answers_without_a_probability_are_left_out(answer_row: Row) -> None:
    with_gaps = calibration(judged(answer_row, (True, 0.9), (False, 0.2), (False, None)))

    assert with_gaps is not None
    assert sum(one.count for one in with_gaps.bins) == 2


@pytest.mark.parametrize(
    "answers", [[(True, 0.9), (True, 0.1)], [(True, 0.9), (False, None)], [(True, None)]]
)
def test_one_label_alone_has_no_calibration(
    answer_row: Row, answers: list[tuple[bool, float | None]]
) -> None:
    assert calibration(judged(answer_row, *answers)) is None


def test_only_judged_answers_count(answer_row: Row) -> None:
    lettered = answer_row("p9", kind="lettered", right="A", outcome="A", p_unsafe=0.5)
    found = calibration([*judged(answer_row, (True, 0.9), (False, 0.2)), lettered])

    assert found is not None
    assert sum(one.count for one in found.bins) == 2


def test_in_context_the_right_answer_is_the_label(answer_row: Row) -> None:
    rows = [
        answer_row("p1", suite="context", question="fine", right="safe", p_unsafe=0.1),
        answer_row("p1", suite="context", question="not_fine", right="unsafe", p_unsafe=0.9),
    ]
    found = calibration(rows)

    assert found is not None
    assert found.auc.value == 1.0
