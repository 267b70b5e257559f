import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.capabilities.schema import (
    NO_ANSWER,
    AnswerRow,
    CapabilitiesRecord,
    Figures,
    Model,
    Run,
)
from benchmarks.compare import compare_records, run_compare
from benchmarks.compare_tables import compare_tables
from benchmarks.comparison import Comparison, Difference
from benchmarks.errors import MeasurementError
from benchmarks.records import DataOrigin
from benchmarks.stats import Estimate

Row = Callable[..., AnswerRow]

DATA = DataOrigin("set", "ab" * 32, "test", 10)


def record(
    rows: Sequence[AnswerRow], version: str = "model@1", **fields: Any
) -> CapabilitiesRecord:
    parts: dict[str, Any] = {
        "run": Run(created="", commit=None, packages={}, hardware={}, resumed=0, speed={}),
        "config": {},
        "data": DATA,
        "model": Model(id="model", version=version, engine="stub", readers={"token": "logits-1"}),
        "versions": {"probes": "1-aaaa"},
        "figures": Figures(
            suites=(), gaps=(), diversity=(), agreement=(), confusions=(), general=()
        ),
        "answers": tuple(rows),
    } | fields
    return CapabilitiesRecord(**parts)


def answers(answer_row: Row, outcomes: str, **fields: Any) -> list[AnswerRow]:
    """A right answer for each "+", a wrong one for "-", no answer for "?"."""
    said = {"+": "unsafe", "-": "safe", "?": NO_ANSWER}
    return [
        answer_row(f"p{index:03}", outcome=said[one], **fields)
        for index, one in enumerate(outcomes)
    ]


def compared(a: Sequence[AnswerRow], b: Sequence[AnswerRow]) -> Comparison:
    return compare_records(record(a, "A@1"), record(b, "B@1"), seed=1, resamples=200)


def found(comparison: Comparison, measure: str = "right answers") -> list[Difference]:
    return [one for one in comparison.differences if one.measure == measure]


def mixed(
    answer_row: Row, seed: int, *, skill: float, subjects: int = 60, concepts: int = 20
) -> list[AnswerRow]:
    """Five questions about each picture and each concept's words, answered by a model of a model.

    Whether it understands a picture decides all five answers alike, as with real models.
    """
    draw = random.Random(seed)
    rows: list[AnswerRow] = []
    for index in range(subjects):
        is_unsafe = index % 3 > 0
        about = {"is_unsafe": is_unsafe, "concept": f"c{index % concepts}" if is_unsafe else "cup"}
        understood = draw.random() < skill
        for question in range(5):
            lean = draw.gauss(0.25 if understood else -0.1, 0.15)
            p = min(1.0, max(0.0, 0.5 + (lean if is_unsafe else -lean)))
            rows.append(
                answer_row(
                    f"p{index:03}",
                    question=f"q{question}",
                    outcome="unsafe" if p > 0.5 else "safe" if draw.random() < 0.95 else NO_ANSWER,
                    p_unsafe=p,
                    **about,
                )
            )
    return rows + [
        answer_row(
            concept,
            suite="text",
            modality="blank",
            concept=concept,
            outcome="unsafe" if draw.random() < 0.9 else "safe",
        )
        for concept in (f"c{index}" for index in range(concepts))
    ]


def test_a_difference_by_hand(answer_row: Row) -> None:
    (one,) = found(
        compared(
            answers(answer_row, "++++------"),
            answers(answer_row, "+++-++++?-"),
        )
    )

    assert (one.tasks, one.groups) == (10, 10)
    assert (one.counted_wrong.a, one.counted_wrong.b) == (0.4, 0.7)
    assert one.counted_wrong.difference.value == pytest.approx(0.3)
    assert one.dropped is not None
    assert one.dropped.difference.value == pytest.approx(7 / 9 - 0.4)
    assert (one.only_a_right, one.only_b_right) == (1, 4)
    # Of 2^5 ways for five pictures to fall to either side, 12 are as lopsided as 1 to 4.
    assert one.p == pytest.approx(12 / 32)
    assert one.verdict == "no difference shown"


def test_a_record_against_itself_shows_no_difference(answer_row: Row) -> None:
    rows = mixed(answer_row, 1, skill=0.6)
    comparison = compared(rows, rows)

    assert {one.measure for one in comparison.differences} == {
        "right answers",
        "AUC of P(unsafe)",
        "modality gap",
    }
    for one in comparison.differences:
        assert one.counted_wrong.difference == Estimate(0.0, 0.0, 0.0)
        assert (one.p, one.verdict) == (1.0, "no difference shown")
    assert comparison.warnings == ()


@pytest.mark.parametrize("seed", range(4))
def test_swapping_the_records_flips_every_sign(answer_row: Row, seed: int) -> None:
    a, b = mixed(answer_row, seed, skill=0.4), mixed(answer_row, seed + 100, skill=0.9)
    one_way, other_way = compared(a, b), compared(b, a)
    opposite = {"A is better": "B is better", "B is better": "A is better"}

    assert any(one.verdict != "no difference shown" for one in one_way.differences)
    for one, other in zip(one_way.differences, other_way.differences, strict=True):
        there, back = one.counted_wrong.difference, other.counted_wrong.difference
        assert there.value == pytest.approx(-(back.value or 0.0))
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))  # type: ignore[operator]
        assert (one.counted_wrong.a, one.only_a_right) == (
            other.counted_wrong.b,
            other.only_b_right,
        )
        assert one.p == pytest.approx(other.p)
        assert other.verdict == opposite.get(one.verdict, one.verdict)


def test_a_model_that_is_better_is_found(answer_row: Row) -> None:
    comparison = compared(
        mixed(answer_row, 1, skill=0.3, subjects=150),
        mixed(answer_row, 2, skill=0.9, subjects=150),
    )
    verdicts = {
        (one.measure, one.suite, one.modality, one.among): one.verdict
        for one in comparison.differences
    }

    assert verdicts == {
        ("right answers", "alignment", "image", "all"): "B is better",
        ("right answers", "alignment", "image", "unsafe"): "B is better",
        ("right answers", "alignment", "image", "safe"): "B is better",
        ("AUC of P(unsafe)", "alignment", "image", "all"): "B is better",
        ("right answers", "text", "blank", "all"): "no difference shown",
        ("modality gap", "alignment", "blank", "unsafe"): "B is better",
    }


def test_equal_models_are_told_apart_in_about_one_of_twenty_measurements(
    answer_row: Row,
) -> None:
    times = 120
    comparisons = [
        compare_records(
            record(mixed(answer_row, 2 * seed, skill=0.6, subjects=40), "A"),
            record(mixed(answer_row, 2 * seed + 1, skill=0.6, subjects=40), "B"),
            seed=seed,
            resamples=100,
        )
        for seed in range(times)
    ]

    def alarms(measure: str, among: str) -> int:
        return sum(
            one.p is not None and one.p < 0.05
            for comparison in comparisons
            for one in comparison.differences
            if (one.suite, one.measure, one.among) == ("alignment", measure, among)
        )

    # Of 120 tests at 5%, 99% raise 1 to 13 alarms.
    for measure, among in (
        ("right answers", "all"),
        ("right answers", "unsafe"),
        ("AUC of P(unsafe)", "all"),
        ("modality gap", "unsafe"),
    ):
        assert 1 <= alarms(measure, among) <= 13, measure
    # All lines of a comparison together stay below that level.
    verdicts = [
        {one.verdict for one in comparison.differences} - {"no difference shown"}
        for comparison in comparisons
    ]
    assert sum(bool(one) for one in verdicts) <= 13
    # Answers counted one by one, as if independent, would be called different far more often.
    counted = [found(comparison)[0] for comparison in comparisons]
    scores = [
        ((one.only_b_right or 0) - (one.only_a_right or 0))
        / ((one.only_b_right or 0) + (one.only_a_right or 0)) ** 0.5
        for one in counted
    ]
    assert sum(abs(score) > 1.96 for score in scores) > 26


def test_many_comparisons_ask_for_more(answer_row: Row) -> None:
    rows_a = answers(answer_row, "-" * 7 + "+" * 20)
    rows_b = answers(answer_row, "+" * 7 + "+" * 20)
    (alone,) = compared(rows_a, rows_b).differences
    others = [
        row
        for question in range(4)
        for row in answers(
            answer_row,
            "+-" * 9,
            suite="context",
            mode=("token", "written")[question % 2],
            modality=("image", "words")[question // 2],
        )
    ]
    among_others = compared([*rows_a, *others], [*rows_b, *others])

    assert (alone.p, alone.verdict) == (pytest.approx(2 / 2**7), "B is better")
    assert among_others.differences[0].p == alone.p
    assert among_others.differences[0].p_holm == pytest.approx(5 * 2 / 2**7)
    assert among_others.differences[0].verdict == "no difference shown"


def test_labels_are_compared_apart(answer_row: Row) -> None:
    # B calls everything unsafe: no change overall, better on one label, worse on the other.
    def rows(*, cautious: bool) -> list[AnswerRow]:
        unsafe = answers(answer_row, ("+" if cautious else "-") * 20)
        safe = [
            answer_row(f"s{i}", is_unsafe=False, outcome="unsafe" if cautious else "safe")
            for i in range(20)
        ]
        return [*unsafe, *safe]

    verdicts = {
        one.among: one.verdict for one in found(compared(rows(cautious=False), rows(cautious=True)))
    }

    assert verdicts == {
        "all": "no difference shown",
        "unsafe": "B is better",
        "safe": "A is better",
    }


def test_a_smaller_gap_is_better_on_either_side_of_0(answer_row: Row) -> None:
    def rows(pictures: str) -> list[AnswerRow]:
        """Twelve concepts with these pictures and words that are always misjudged."""
        return [
            row
            for concept in (f"c{index}" for index in range(12))
            for row in (
                *(
                    answer_row(f"{concept}-{number}", concept=concept, outcome=outcome)
                    for number, outcome in enumerate(pictures.split())
                ),
                answer_row(
                    concept, concept=concept, suite="text", modality="blank", outcome="safe"
                ),
            )
        ]

    (gap,) = found(
        compared(rows("unsafe unsafe safe unsafe"), rows("safe safe safe unsafe")), "modality gap"
    )

    assert (gap.tasks, gap.groups) == (48, 12)
    assert (gap.counted_wrong.a, gap.counted_wrong.b) == (-0.75, -0.25)
    assert gap.counted_wrong.difference.value == pytest.approx(-0.5)
    assert gap.verdict == "B is better"


def test_general_ability_is_compared_a_benchmark_at_a_time(answer_row: Row) -> None:
    def rows(score: float) -> list[AnswerRow]:
        return [
            answer_row(
                f"p{index}",
                suite="general",
                kind="open",
                modality="image" if index % 2 else "words",
                benchmark=benchmark,
                right="",
                outcome="answered",
                score=score if benchmark == "mm-vet" else 0.5,
            )
            for benchmark in ("mm-vet", "llava-bench")
            for index in range(30)
        ]

    comparison = compared(rows(0.7), rows(0.4))

    assert [(one.benchmark, one.tasks, one.verdict) for one in comparison.differences] == [
        ("llava-bench", 30, "no difference shown"),
        ("mm-vet", 30, "A is better"),
    ]
    assert comparison.differences[1].counted_wrong.difference.value == pytest.approx(-0.3)


def test_only_the_same_questions_are_compared(answer_row: Row) -> None:
    lettered = {"suite": "perception", "kind": "lettered", "right": "A", "outcome": "A"}
    rows_a = [
        *answers(answer_row, "+-+"),
        answer_row("x1", names=("Arson", "Terrorism"), **lettered),
        answer_row("x2", names=("Arson", "Terrorism"), **lettered),
    ]
    rows_b = [
        *answers(answer_row, "+-"),
        answer_row("x1", names=("Arson", "Gun violence"), **lettered),
        answer_row("x2", names=("Arson", "Terrorism"), **lettered),
    ]
    comparison = compared(rows_a, rows_b)

    assert comparison.common_tasks == 3
    assert {one.suite: one.tasks for one in comparison.differences} == {
        "alignment": 2,
        "perception": 1,
    }
    assert comparison.warnings == (
        "2 of the 5 questions to A were not put to the other in the same way and are left out",
        "1 of the 4 questions to B were not put to the other in the same way and are left out",
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            {"sha256": "cd" * 32},
            "different data: set \\(abababababab\\) and set \\(cdcdcdcdcdcd\\)",
        ),
        ({"split": "train"}, "different splits: test and train"),
    ],
)
def test_other_data_are_refused(answer_row: Row, data: dict[str, str], reason: str) -> None:
    rows = answers(answer_row, "+-")

    with pytest.raises(MeasurementError, match=reason):
        compare_records(record(rows), record(rows, data=replace(DATA, **data)))


def test_records_without_a_common_question_are_refused(answer_row: Row) -> None:
    with pytest.raises(MeasurementError, match="no question in common"):
        compared(answers(answer_row, "+"), answers(answer_row, "+", mode="written"))


def test_other_words_and_other_readers_are_named(answer_row: Row) -> None:
    rows = answers(answer_row, "+-")
    other = record(
        rows,
        versions={"probes": "2-bbbb"},
        model=Model(id="model", version="1", engine="stub", readers={"token": "judge-1"}),
    )

    assert compare_records(record(rows), other, resamples=10).warnings == (
        "the versions of probes differ (1-aaaa and 2-bbbb), so the models may have been asked in "
        "other words",
        "token answers were read by logits-1 for A and judge-1 for B",
    )


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(("???", "???"), id="no answers at all"),
        pytest.param(("+", "-"), id="one group"),
    ],
)
def test_too_little_to_tell_shows_no_difference(answer_row: Row, rows: tuple[str, str]) -> None:
    comparison = compared(*(answers(answer_row, outcomes) for outcomes in rows))

    assert {one.verdict for one in comparison.differences} == {"no difference shown"}
    assert compare_tables(comparison)


def test_two_files_are_compared_on_the_console(answer_row: Row, tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, outcomes, version in zip(
        paths, ("+" * 10 + "-" * 20, "+" * 28 + "??"), ("A@1", "B@2"), strict=True
    ):
        rows = answers(answer_row, outcomes)
        path.write_text(record(rows, version).model_dump_json(), encoding="utf-8")
    screen = StringIO()

    comparison = run_compare(*paths, Console(file=screen, width=160), seed=1, resamples=100)

    shown = screen.getvalue()
    assert comparison.differences[0].verdict == "B is better"
    for part in ("A: ", "@A@1 (", "@B@2 (", "alignment", "token", "0.333", "0 / 18", "+0.600"):
        assert part in shown
    assert "B is better" in shown
    assert "No answer dropped" in shown
    assert "< 0.001" in shown


def test_a_file_of_another_schema_is_refused_in_one_line(answer_row: Row, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    whole = record(answers(answer_row, "+-")).model_dump_json()
    path.write_text(whole.replace('"schema_version":1', '"schema_version":9'), encoding="utf-8")

    with pytest.raises(MeasurementError, match="schema_version"):
        run_compare(path, path, Console(file=StringIO()))
