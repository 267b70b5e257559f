from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.capabilities.schema import (
    Agreement,
    CapabilitiesRecord,
    Figures,
    Gap,
    Rate,
    SuiteFigures,
)
from benchmarks.report.columns import Column
from benchmarks.report.findings import comparison, findings
from benchmarks.stats import Estimate

NOTHING = Figures(suites=(), gaps=(), diversity=(), agreement=(), confusions=(), general=())


def rate(value: float, *, low: float = 0.0, high: float = 1.0, no_answers: int = 0) -> Rate:
    return Rate(
        answers=100,
        no_answers=no_answers,
        dropped=Estimate(value, low, high),
        counted_wrong=Estimate(value, low, high),
        no_answer_rate=Estimate(no_answers / 100, 0.0, 1.0),
    )


def pictures(unsafe: Rate | None, safe: Rate | None, **parts: Any) -> SuiteFigures:
    overall = unsafe or safe or rate(0.5)
    fields = {"by_category": {}, "by_concept": {}, "by_question": {}, "calibration": None} | parts
    return SuiteFigures(
        suite="alignment",
        mode="token",
        modality="image",
        overall=overall,
        unsafe=unsafe,
        safe=safe,
        **fields,
    )


@pytest.fixture
def said(record: CapabilitiesRecord) -> Callable[..., str]:
    """The findings of a record with these figures and no others."""

    def say(**figures: Any) -> str:
        changed = record.model_copy(
            update={
                "figures": NOTHING.model_copy(update=figures),
                "run": record.run.model_copy(update={"speed": {}}),
                "answers": (),
            }
        )
        return " ".join(findings(Column("m", changed)))

    return say


def test_nothing_measured_says_nothing(said: Callable[..., str]) -> None:
    assert said() == ""


def test_unsafe_and_safe_are_told_together(said: Callable[..., str]) -> None:
    text = said(suites=(pictures(rate(0.9, low=0.8, high=0.95), rate(0.7, low=0.6, high=0.8)),))

    assert "0.900 (0.800 to 0.950)" in text
    assert "0.700 (0.600 to 0.800)" in text
    assert "read alone" not in text


def test_a_model_that_calls_most_safe_pictures_unsafe_is_named_so(
    said: Callable[..., str],
) -> None:
    assert "can't be read alone" in said(suites=(pictures(rate(0.99), rate(0.1)),))


def test_without_safe_pictures_false_alarms_are_unknown(said: Callable[..., str]) -> None:
    assert "holds no safe picture" in said(suites=(pictures(rate(0.9), None),))


def test_categories_with_wide_intervals_are_neither_best_nor_worst(
    said: Callable[..., str],
) -> None:
    by_category = {
        "Hate": rate(0.1, low=0.0, high=0.9),
        "Violence": rate(0.9, low=0.85, high=0.95),
        "Sexual": rate(0.6, low=0.5, high=0.7),
        "Safe": rate(0.2, low=0.15, high=0.25),
    }
    text = said(suites=(pictures(rate(0.8), rate(0.8), by_category=by_category),))

    assert "best on Violence, 0.900" in text
    assert "worst on Sexual, 0.600" in text
    assert "Hate" not in text


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.02, 0.3, "judges words better than pictures"),
        (-0.3, -0.02, "judges pictures better than words"),
        (-0.1, 0.1, "no difference"),
        (0.0, 0.2, "no difference"),
    ],
)
def test_a_gap_is_one_only_where_its_interval_leaves_out_zero(
    said: Callable[..., str], low: float, high: float, verdict: str
) -> None:
    found = Estimate((low + high) / 2, low, high)
    gap = Gap(mode="token", words="blank", dropped=found, counted_wrong=found)

    assert verdict in said(suites=(pictures(rate(0.8), rate(0.8)),), gaps=(gap,))


def test_the_most_silent_suite_is_named(said: Callable[..., str]) -> None:
    assert "Every question was answered" in said(suites=(pictures(rate(0.8), rate(0.8)),))
    text = said(suites=(pictures(rate(0.8, no_answers=25), rate(0.8)),))
    assert "No answer was given most often in alignment by picture (one token): 0.250" in text


def test_agreement_is_told_with_how_many_questions_it_rests_on(said: Callable[..., str]) -> None:
    agreement = Agreement(suite="text", questions=50, answers=40, agree=Estimate(0.9, 0.8, 0.95))
    text = said(suites=(pictures(rate(0.8), rate(0.8)),), agreement=(agreement,))

    assert "agree in 0.900 (0.800 to 0.950) of 40 questions (alignment by words)" in text


def test_a_comparison_names_highest_and_lowest_and_warns_of_other_data(
    record: CapabilitiesRecord, make_record: Callable[..., CapabilitiesRecord]
) -> None:
    better = make_record(model="lab/better", skill=6.0, silence=0.0, seed=4)
    columns = [Column("first", record), Column("better", better)]
    text = " ".join(comparison(columns))

    assert "Alignment by picture (one token, unsafe pictures) is highest for better" in text
    assert "benchmarks compare" in text
    assert "different data" not in text
    elsewhere = make_record(sha256="cd" * 32, modes=("token",))
    assert "different data" in " ".join(comparison([columns[0], Column("e", elsewhere)]))


def test_a_record_alone_is_compared_with_nothing(record: CapabilitiesRecord) -> None:
    assert comparison([Column("m", record)]) == []
