from collections.abc import Callable

import pytest

from benchmarks.capabilities.rates import suite_figures
from benchmarks.capabilities.schema import AnswerRow, Rate
from benchmarks.stats import Estimate

Row = Callable[..., AnswerRow]


def figures(rows: list[AnswerRow]):  # type: ignore[no-untyped-def]
    return suite_figures(rows, seed=1, resamples=100)


def values(rate: Rate | None) -> tuple[float | None, ...]:
    assert rate is not None
    return (rate.dropped.value, rate.counted_wrong.value, rate.no_answer_rate.value)


def test_no_answer_is_counted_in_both_of_s1s_ways(answer_row: Row) -> None:
    outcomes = ["unsafe", "unsafe", "unsafe", "safe", "no answer"]
    rate = figures([answer_row(f"p{i}", outcome=one) for i, one in enumerate(outcomes)]).overall

    assert (rate.answers, rate.no_answers) == (5, 1)
    assert values(rate) == pytest.approx((3 / 4, 3 / 5, 1 / 5))


def test_what_the_engine_failed_at_is_no_answer(answer_row: Row) -> None:
    failed = answer_row("p2", outcome="no answer", failure="QuestionTooLongError: 900 tokens")
    rate = figures([answer_row("p1"), failed]).overall

    assert (rate.no_answers, *values(rate)) == (1, 1.0, 0.5, 0.5)


def test_without_any_answer_the_rate_among_answers_is_unknown(answer_row: Row) -> None:
    rows = [answer_row(f"p{index}", outcome="no answer") for index in range(4)]
    found = figures(rows)

    assert found.overall.dropped == Estimate(None, None, None)
    assert found.by_concept["Arson"].dropped == Estimate(None, None, None)
    assert found.overall.counted_wrong.value == 0.0
    assert found.overall.no_answer_rate.value == 1.0
    assert found.calibration is None


def test_the_breakdowns_hold_what_occurs(answer_row: Row) -> None:
    found = figures(
        [
            answer_row("p1", concept="Arson", category="Illegal activity"),
            answer_row("p2", concept="Terrorism", category="Violence", outcome="safe"),
            answer_row("p3", concept="", category=""),
            answer_row("p4", is_unsafe=False, concept="cup", question="other"),
        ]
    )

    assert {name: values(rate)[0] for name, rate in found.by_category.items()} == {
        "Illegal activity": 1.0,
        "Safe": 1.0,
        "Violence": 0.0,
    }
    assert {name: rate.answers for name, rate in found.by_concept.items()} == {
        "Arson": 1,
        "Terrorism": 1,
    }
    assert {name: rate.answers for name, rate in found.by_question.items()} == {
        "fit": 3,
        "other": 1,
    }
    assert values(found.unsafe)[0] == pytest.approx(2 / 3)
    assert values(found.safe)[0] == 1.0
    assert values(found.overall)[0] == 0.75


def test_a_label_that_does_not_occur_has_no_rate(answer_row: Row) -> None:
    assert figures([answer_row("p1"), answer_row("p2")]).safe is None
    assert figures([answer_row("p1", is_unsafe=False)]).unsafe is None


def test_the_questions_about_one_picture_are_drawn_together(answer_row: Row) -> None:
    # Four pictures right in all five questions, four wrong in all: as uncertain as eight answers.
    pictures = [(f"p{index}", "unsafe" if index < 4 else "safe") for index in range(8)]
    five = [
        answer_row(name, outcome=outcome, question=f"q{number}")
        for name, outcome in pictures
        for number in range(5)
    ]
    one = [answer_row(name, outcome=outcome) for name, outcome in pictures]

    assert figures(five).overall.dropped == figures(one).overall.dropped


def test_a_single_group_has_no_interval(answer_row: Row) -> None:
    rows = [answer_row("p1", group="g"), answer_row("p2", group="g", outcome="safe")]

    assert figures(rows).overall.dropped == Estimate(0.5, None, None)


def test_nothing_has_no_figures() -> None:
    with pytest.raises(ValueError, match="without answers"):
        figures([])
