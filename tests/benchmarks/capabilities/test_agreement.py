from collections.abc import Callable

import pytest

from benchmarks.capabilities.agreement import agreement_of
from benchmarks.capabilities.schema import Agreement, AnswerRow
from benchmarks.capabilities.tasks import Suite

Row = Callable[..., AnswerRow]


def agreement(rows: list[AnswerRow], suite: Suite = "alignment") -> Agreement | None:
    return agreement_of(rows, suite=suite, seed=1, resamples=50)


def test_it_is_over_questions_that_both_modes_answered(answer_row: Row) -> None:
    pairs = [("unsafe", "unsafe"), ("safe", "unsafe"), ("safe", "no answer"), ("safe", "safe")]
    rows = [
        answer_row(f"p{index}", mode=mode, outcome=outcome)
        for index, pair in enumerate(pairs)
        for mode, outcome in zip(("token", "written"), pair, strict=True)
    ]
    found = agreement([*rows, answer_row("p9"), answer_row("p8", mode="written")])

    assert found is not None
    assert (found.suite, found.questions, found.answers) == ("alignment", 4, 3)
    assert found.agree.value == pytest.approx(2 / 3)


def test_letters_agree_when_their_names_do(answer_row: Row) -> None:
    parts = {"suite": "perception", "kind": "lettered", "right": "A"}
    rows = [
        answer_row("p1", mode="token", names=("Arson", "Terrorism"), outcome="A", **parts),
        answer_row("p1", mode="written", names=("Terrorism", "Arson"), outcome="B", **parts),
    ]
    found = agreement(rows, "perception")

    assert found is not None
    assert found.agree.value == 1.0


def test_the_ways_of_asking_are_kept_apart(answer_row: Row) -> None:
    rows = [
        answer_row("Arson", suite="text", modality="blank", outcome="safe"),
        answer_row("Arson", suite="text", modality="words", outcome="unsafe"),
        answer_row("Arson", suite="text", modality="blank", mode="written", outcome="safe"),
    ]
    found = agreement(rows, "text")

    assert found is not None
    assert (found.questions, found.agree.value) == (1, 1.0)


def test_open_answers_and_single_modes_have_none(answer_row: Row) -> None:
    assert agreement([answer_row("p1")]) is None
    opened = [
        answer_row("p1", mode=mode, suite="general", kind="open", outcome="answered", score=0.5)
        for mode in ("token", "written")
    ]
    assert agreement(opened, "general") is None


def test_without_a_question_that_both_answered_it_is_unknown(answer_row: Row) -> None:
    rows = [answer_row("p1", outcome="no answer"), answer_row("p1", mode="written")]
    found = agreement(rows)

    assert found is not None
    assert (found.questions, found.answers, found.agree.value) == (1, 0, None)
