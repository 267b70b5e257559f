import random
from collections.abc import Callable

import pytest

from benchmarks.capabilities.figures import confusions_of, figures_of
from benchmarks.capabilities.schema import AnswerRow, Figures

Row = Callable[..., AnswerRow]
CONCEPTS = ("Arson", "Terrorism", "Gun violence")


def measured(answer_row: Row, seed: int = 0) -> list[AnswerRow]:
    """Answers of every suite, drawn by chance."""
    draw = random.Random(seed)
    rows: list[AnswerRow] = []
    for mode in ("token", "written"):
        for index in range(12):
            is_unsafe = index % 3 > 0
            concept = CONCEPTS[index % 3]
            for suite, modality, question in (
                ("alignment", "image", "fit"),
                ("alignment", "image", "forum"),
                ("text", "blank", "fit"),
                ("general", "image", "count"),
            ):
                outcome = draw.choice(("safe", "unsafe", "unsafe", "no answer"))
                rows.append(
                    answer_row(
                        f"{suite}{index}",
                        mode=mode,
                        suite=suite,
                        modality=modality,
                        question=question,
                        is_unsafe=is_unsafe,
                        concept=concept,
                        group=f"g{index // 2}",
                        outcome=outcome,
                        benchmark="builtin" if suite == "general" else "",
                        p_unsafe=draw.random() if mode == "token" else None,
                        text=f"It is {outcome} {draw.random():.1f} ."
                        if mode == "written"
                        else None,
                        tokens=draw.randint(3, 9) if mode == "written" else None,
                        is_complete=True if mode == "written" else None,
                    )
                )
    return rows


def figures(rows: list[AnswerRow], seed: int = 1) -> Figures:
    return figures_of(rows, seed=seed, resamples=50)


def test_the_order_of_answers_changes_no_byte(answer_row: Row) -> None:
    rows = measured(answer_row)
    shuffled = random.Random(1).sample(rows, len(rows))

    assert figures(rows).model_dump_json() == figures(shuffled).model_dump_json()


def test_another_seed_moves_intervals_alone(answer_row: Row) -> None:
    rows = measured(answer_row)
    one, two = figures(rows, seed=1), figures(rows, seed=2)

    assert one != two
    assert one.suites[0].overall.dropped.value == two.suites[0].overall.dropped.value


def test_every_suite_mode_and_modality_has_its_figures(answer_row: Row) -> None:
    found = figures(measured(answer_row))

    assert [(one.suite, one.mode, one.modality) for one in found.suites] == [
        ("alignment", "token", "image"),
        ("alignment", "written", "image"),
        ("text", "token", "blank"),
        ("text", "written", "blank"),
    ]
    assert [one.calibration is not None for one in found.suites] == [True, False, True, False]
    assert [(one.mode, one.words) for one in found.gaps] == [
        ("token", "blank"),
        ("written", "blank"),
    ]
    assert [one.suite for one in found.diversity] == ["alignment", "text", "general"]
    assert [one.suite for one in found.agreement] == ["alignment", "text", "general"]
    assert [(one.benchmark, one.mode) for one in found.general] == [
        ("builtin", "token"),
        ("builtin", "written"),
    ]


def test_the_figures_of_a_suite_do_not_depend_on_the_others(answer_row: Row) -> None:
    rows = measured(answer_row)
    alone = figures([row for row in rows if row.suite == "text" and row.mode == "token"])

    assert alone.suites[0] == figures(rows).suites[2]


def test_two_answers_to_one_task_are_refused(answer_row: Row) -> None:
    with pytest.raises(ValueError, match="alignment/token/image/p1/fit"):
        figures([answer_row("p1"), answer_row("p1", outcome="safe")])


def test_without_answers_there_is_nothing_to_show() -> None:
    assert figures([]) == Figures(
        suites=(), gaps=(), diversity=(), agreement=(), confusions=(), general=()
    )


def test_figures_survive_their_json(answer_row: Row) -> None:
    found = figures(measured(answer_row))

    assert Figures.model_validate_json(found.model_dump_json()) == found


def test_confusions_hold_right_and_wrong_names_and_no_silence(answer_row: Row) -> None:
    def seen(subject: str, right: str, outcome: str, **fields: object) -> AnswerRow:
        parts: dict[str, object] = {
            "suite": "perception",
            "kind": "lettered",
            "names": ("Arson", "Terrorism", "Gun violence"),
        } | fields
        return answer_row(subject, right=right, outcome=outcome, **parts)

    found = confusions_of(
        [
            seen("p1", "A", "A"),
            seen("p2", "A", "C"),
            seen("p3", "A", "C"),
            seen("p4", "B", "no answer"),
            seen("p5", "B", "B", mode="written"),
            seen("p6", "B", "B", suite="general"),
        ]
    )

    assert [(one.mode, one.shown, one.taken_for, one.count) for one in found] == [
        ("token", "Arson", "Arson", 1),
        ("token", "Arson", "Gun violence", 2),
        ("written", "Terrorism", "Terrorism", 1),
    ]
