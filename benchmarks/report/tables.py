"""The report's tables beside those of rates: gap, P(unsafe), general ability, answers, modes."""

from collections.abc import Sequence

from benchmarks.capabilities.schema import Gap
from benchmarks.report.columns import Column, aspects_of
from benchmarks.report.rate_tables import COUNTED_WRONG, DROPPED
from benchmarks.report.table import MISSING, Cell, Table, count_cell, estimate_cell, heads
from benchmarks.report.wording import (
    MODES,
    aspect_name,
    number,
    per_s,
    rate_per_s,
    suite_name,
)
from benchmarks.stats import Estimate


def gaps(columns: Sequence[Column]) -> list[Table]:
    """Words minus pictures, a line for each mode and way of asking by words."""
    kinds = list(
        dict.fromkeys((one.mode, one.words) for c in columns for one in c.record.figures.gaps)
    )
    if not kinds:
        return []
    rows: list[tuple[Cell, ...]] = []
    for mode, words in kinds:
        for way in (COUNTED_WRONG, DROPPED):
            cells = [_gap_cell(column, mode, words, way) for column in columns]
            asked = "a blank picture" if words == "blank" else "no picture"
            counted = way.removeprefix("right, no answers ")
            rows.append((Cell(asked), Cell(MODES[mode]), Cell(counted), *cells))
    named = ("words with", "mode", "no answers")
    head = (*named, *heads(columns, "words minus pictures"))
    return [Table("Modality gap", head, tuple(rows), names=frozenset(named))]


def _gap_cell(column: Column, mode: str, words: str, way: str) -> Cell:
    for one in column.record.figures.gaps:
        if (one.mode, one.words) == (mode, words):
            return estimate_cell(_way(one, way), with_sign=True)
    return MISSING


def _way(gap: Gap, way: str) -> Estimate:
    return gap.dropped if way == DROPPED else gap.counted_wrong


def calibration(columns: Sequence[Column]) -> list[Table]:
    """AUC and calibration error of P(unsafe)."""
    rows: list[tuple[Cell, ...]] = []
    for aspect in aspects_of(columns):
        found = [(f.calibration if (f := c.figures(aspect)) else None) for c in columns]
        if not any(found):
            continue
        name = Cell(aspect_name(aspect.suite, aspect.modality))
        aucs = [MISSING if one is None else estimate_cell(one.auc) for one in found]
        eces = [MISSING if one is None else Cell(number(one.ece), sort=one.ece) for one in found]
        rows += [(name, Cell("AUC"), *aucs), (name, Cell("calibration error"), *eces)]
    named = ("capability", "figure")
    head = (*named, *heads(columns, "value"))
    title = "How far P(unsafe) can be trusted"
    return [Table(title, head, tuple(rows), names=frozenset(named))] if rows else []


def general(columns: Sequence[Column]) -> list[Table]:
    """Scores of general ability, "no answer" counting 0 and counted beside them."""
    kinds = list(
        dict.fromkeys(
            (one.benchmark, one.subtask, one.mode)
            for column in columns
            for one in column.record.figures.general
        )
    )
    if not kinds:
        return []
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        cells: list[Cell] = []
        for column in columns:
            match = [
                one
                for one in column.record.figures.general
                if (one.benchmark, one.subtask, one.mode) == kind
            ]
            if not match:
                cells.extend((MISSING,) * (3 if len(columns) == 1 else 1))
                continue
            score = estimate_cell(match[0].score)
            counts = (count_cell(match[0].answers), count_cell(match[0].no_answers))
            cells.extend((*counts, score) if len(columns) == 1 else (score,))
        benchmark, subtask, mode = kind
        rows.append((Cell(benchmark), Cell(subtask or "all"), Cell(MODES[mode]), *cells))
    figures = ("answers", "no answers", "score") if len(columns) == 1 else heads(columns, "")
    named = ("benchmark", "part", "mode")
    return [Table("General ability", (*named, *figures), tuple(rows), names=frozenset(named))]


def diversity(columns: Sequence[Column]) -> list[Table]:
    """How varied and how long written answers are."""
    rows: list[tuple[Cell, ...]] = []
    for column in columns:
        for one in column.record.figures.diversity:
            varied = one.one_minus_self_bleu
            rows.append(
                (
                    *((Cell(column.label),) if len(columns) > 1 else ()),
                    Cell(suite_name(one.suite)),
                    count_cell(one.answers),
                    Cell(number(varied), sort=varied),
                    Cell(f"{one.mean_tokens:.1f}", sort=one.mean_tokens),
                    Cell(f"{one.p95_tokens:.0f}", sort=one.p95_tokens),
                    Cell(number(one.share_complete), sort=one.share_complete),
                )
            )
    named = (*(("model",) if len(columns) > 1 else ()), "suite")
    varied_head = "1 \N{MINUS SIGN} Self-BLEU"
    head = (*named, "answers", varied_head, "mean tokens", "p95 tokens", "complete")
    table = Table("Written answers", head, tuple(rows), names=frozenset(named))
    return [table] if rows else []


def modes(columns: Sequence[Column]) -> list[Table]:
    """Whether one token says what a written answer says, and what each costs."""
    suites = list(
        dict.fromkeys(one.suite for column in columns for one in column.record.figures.agreement)
    )
    agreement: list[tuple[Cell, ...]] = []
    for suite in suites:
        cells = []
        for column in columns:
            match = [one for one in column.record.figures.agreement if one.suite == suite]
            cells.append(estimate_cell(match[0].agree) if match else MISSING)
        agreement.append((Cell(suite_name(suite)), *cells))
    speed = [
        (
            *((Cell(column.label),) if len(columns) > 1 else ()),
            Cell(MODES[mode]),
            count_cell(one.answers),
            count_cell(one.pictures),
            Cell(f"{one.seconds:,.1f}", sort=one.seconds),
            Cell(rate_per_s(per_s(one.answers, one.seconds)), sort=per_s(one.answers, one.seconds)),
            Cell(
                rate_per_s(per_s(one.pictures, one.seconds)), sort=per_s(one.pictures, one.seconds)
            ),
            count_cell(one.tokens),
        )
        for column in columns
        for mode, one in column.record.run.speed.items()
    ]
    tables = []
    if agreement:
        head = ("suite", *heads(columns, "same answer"))
        note = "Over questions that both modes answered."
        tables.append(Table("One token against written answers", head, tuple(agreement), note))
    if speed:
        named = (*(("model",) if len(columns) > 1 else ()), "mode")
        measured = ("answers", "pictures", "seconds", "answers/s", "pictures/s", "tokens")
        tables.append(Table("Speed", (*named, *measured), tuple(speed), names=frozenset(named)))
    return tables


def confusions(columns: Sequence[Column], *, most: int) -> list[Table]:
    """The commonest mistakes between concepts that were made more than once, a table a record."""
    tables = []
    for column in columns:
        beside = f" of {column.label}" if len(columns) > 1 else ""
        tables += _confusions(column, f"Commonest confusions{beside}", most)
    return tables


def _confusions(column: Column, title: str, most: int) -> list[Table]:
    mistakes = [one for one in column.record.figures.confusions if one.shown != one.taken_for]
    found = sorted(
        (one for one in mistakes if one.count > 1),
        key=lambda one: (-one.count, one.mode, one.shown, one.taken_for),
    )[:most]
    rows = tuple(
        (Cell(one.shown), Cell(one.taken_for), Cell(MODES[one.mode]), count_cell(one.count))
        for one in found
    )
    named = ("shown", "taken for", "mode")
    return [Table(title, (*named, "times"), rows, names=frozenset(named))] if rows else []
