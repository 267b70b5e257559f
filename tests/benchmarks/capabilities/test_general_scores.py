from collections.abc import Callable

import pytest

from benchmarks.capabilities.general_scores import general_scores
from benchmarks.capabilities.schema import AnswerRow, GeneralScore

Row = Callable[..., AnswerRow]


def scores(rows: list[AnswerRow]) -> dict[tuple[str, str, str], GeneralScore]:
    found = general_scores(rows, seed=1, resamples=50)
    return {(one.benchmark, one.subtask, one.mode): one for one in found}


def asked(answer_row: Row, subject: str, score: float | None, **fields: object) -> AnswerRow:
    parts: dict[str, object] = {
        "suite": "general",
        "kind": "open",
        "right": "",
        "benchmark": "mm-vet",
        "outcome": "no answer" if score is None else "answered",
    } | fields
    return answer_row(subject, score=score, **parts)


def test_the_whole_comes_before_its_subtasks(answer_row: Row) -> None:
    rows = [
        asked(answer_row, "p1", 1.0, subtask="ocr"),
        asked(answer_row, "p2", 0.5, subtask="ocr"),
        asked(answer_row, "p3", 0.0, subtask="math"),
        asked(answer_row, "p4", 0.25),
        asked(answer_row, "p5", 1.0, mode="written", subtask="ocr"),
        answer_row("p6"),
    ]
    found = scores(rows)

    assert list(found) == [
        ("mm-vet", "", "token"),
        ("mm-vet", "math", "token"),
        ("mm-vet", "ocr", "token"),
        ("mm-vet", "", "written"),
        ("mm-vet", "ocr", "written"),
    ]
    assert found["mm-vet", "", "token"].score.value == pytest.approx(1.75 / 4)
    assert found["mm-vet", "ocr", "token"].score.value == pytest.approx(0.75)


def test_no_answer_scores_nothing_and_is_named(answer_row: Row) -> None:
    found = scores([asked(answer_row, "p1", 1.0), asked(answer_row, "p2", None)])
    whole = found["mm-vet", "", "token"]

    assert (whole.answers, whole.no_answers, whole.score.value) == (2, 1, 0.5)


def mme(answer_row: Row, subject: str, *given: float | None, subtask: str) -> list[AnswerRow]:
    return [
        asked(
            answer_row,
            subject,
            score,
            kind="yes-no",
            benchmark="mme",
            subtask=subtask,
            question=f"q{index}",
        )
        for index, score in enumerate(given)
    ]


def test_mmes_accuracy_plus_wants_both_answers_about_a_picture(answer_row: Row) -> None:
    rows = [
        *mme(answer_row, "1.jpg", 1.0, 1.0, subtask="count"),
        *mme(answer_row, "2.jpg", 1.0, 0.0, subtask="count"),
        *mme(answer_row, "3.jpg", 1.0, None, subtask="count"),
        *mme(answer_row, "4.jpg", 1.0, subtask="count"),
        *mme(answer_row, "1.jpg", 1.0, 1.0, subtask="colour"),
    ]
    found = scores(rows)

    assert [subtask for _, subtask, _ in found] == [
        "",
        "accuracy+",
        "colour",
        "colour accuracy+",
        "count",
        "count accuracy+",
    ]
    assert found["mme", "count", "token"].score.value == pytest.approx(5 / 7)
    plus = found["mme", "count accuracy+", "token"]
    assert (plus.answers, plus.no_answers) == (3, 1)
    assert plus.score.value == pytest.approx(1 / 3)
    assert found["mme", "accuracy+", "token"].score.value == pytest.approx(2 / 4)


def test_a_model_that_always_says_yes_has_no_accuracy_plus(answer_row: Row) -> None:
    rows = [row for i in range(5) for row in mme(answer_row, f"{i}", 1.0, 0.0, subtask="count")]
    found = scores(rows)

    assert found["mme", "count", "token"].score.value == 0.5
    assert found["mme", "count accuracy+", "token"].score.value == 0.0


def test_without_pairs_there_is_no_accuracy_plus(answer_row: Row) -> None:
    assert list(scores(mme(answer_row, "1.jpg", 1.0, subtask=""))) == [("mme", "", "token")]
