"""Tables of rates: perception, alignment and context, by category, concept and question.

After S1's tables. Both of its ways of counting "no answer" stand side by side, and its rate with
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.capabilities.schema import Rate, SuiteFigures
from benchmarks.report.columns import Aspect, Column, aspects_of, categories_of, concepts_of
from benchmarks.report.table import MISSING, Cell, Table, count_cell, estimate_cell
from benchmarks.report.wording import MODES, aspect_name, question_name
from benchmarks.stats import Estimate

DROPPED = "right, no answers dropped"
COUNTED_WRONG = "right, no answers counted wrong"
NO_ANSWER_RATE = "no answer"


@dataclass(frozen=True, slots=True)
class RateRow:
    """One line of a table of rates: a rate a record, None where it was not measured.

    `names` say what the line is about, a cell each.
    """

    names: tuple[str, ...]
    rates: tuple[Rate | None, ...]

    @classmethod
    def of(
        cls,
        names: str | tuple[str, ...],
        found: Sequence[SuiteFigures | None],
        read: Callable[[SuiteFigures], Rate | None],
    ) -> "RateRow":
        """What `read` finds in the figures of each record."""
        parts = (names,) if isinstance(names, str) else names
        return cls(parts, tuple(None if one is None else read(one) for one in found))


def rate_tables(
    title: str, named: tuple[str, ...], rows: Sequence[RateRow], columns: Sequence[Column]
) -> list[Table]:
    """One record: one table with both ways of counting. Several: a table a way, side by side."""
    if len(columns) == 1:
        counted = (COUNTED_WRONG, DROPPED, NO_ANSWER_RATE, "answers")
        single = tuple(_single(row) for row in rows)
        return [Table(title, (*named, *counted), single, names=frozenset(named))]
    ways: tuple[tuple[str, Callable[[Rate], Estimate]], ...] = (
        (COUNTED_WRONG, lambda rate: rate.counted_wrong),
        (DROPPED, lambda rate: rate.dropped),
        (NO_ANSWER_RATE, lambda rate: rate.no_answer_rate),
    )
    head = (*named, *(column.label for column in columns))
    return [
        Table(
            f"{title}: {way}",
            head,
            tuple(_side_by_side(row, read) for row in rows),
            names=frozenset(named),
        )
        for way, read in ways
    ]


def overview(columns: Sequence[Column]) -> list[Table]:
    """Everything asked, in one line each; judged suites with unsafe and safe apart."""
    rows: list[RateRow] = []
    for aspect in aspects_of(columns):
        name, mode = aspect_name(aspect.suite, aspect.modality), MODES[aspect.mode]
        found = [column.figures(aspect) for column in columns]
        if aspect.suite in ("alignment", "text"):
            parts = (
                RateRow.of((name, mode, "unsafe"), found, lambda one: one.unsafe),
                RateRow.of((name, mode, "safe"), found, lambda one: one.safe),
            )
            rows.extend(part for part in parts if any(part.rates))
        else:
            rows.append(RateRow.of((name, mode, "all"), found, lambda one: one.overall))
    named = ("capability", "mode", "subjects")
    return rate_tables("Overview", named, rows, columns) if rows else []


def by_category(aspect: Aspect, columns: Sequence[Column]) -> list[Table]:
    """Categories, then everything together."""
    found = [column.figures(aspect) for column in columns]
    names = categories_of(one.by_category for one in found if one is not None)
    rows = [_named(name, found, lambda one: one.by_category) for name in names]
    rows.append(RateRow.of("All", found, lambda one: one.overall))
    return rate_tables(f"{aspect_title(aspect)}, by category", ("category",), rows, columns)


def by_concept(aspect: Aspect, columns: Sequence[Column]) -> list[Table]:
    """Concepts that occur."""
    found = [column.figures(aspect) for column in columns]
    names = concepts_of(one.by_concept for one in found if one is not None)
    rows = [_named(name, found, lambda one: one.by_concept) for name in names]
    title = f"{aspect_title(aspect)}, by concept"
    return rate_tables(title, ("concept",), rows, columns) if rows else []


def by_question(aspect: Aspect, columns: Sequence[Column]) -> list[Table]:
    """Questions, where there is more than one."""
    found = [column.figures(aspect) for column in columns]
    names = list(dict.fromkeys(name for one in found if one for name in one.by_question))
    if len(names) < 2:
        return []
    rows = [
        RateRow((question_name(name),), _named(name, found, lambda one: one.by_question).rates)
        for name in names
    ]
    return rate_tables(f"{aspect_title(aspect)}, by question", ("question",), rows, columns)


def aspect_title(aspect: Aspect) -> str:
    """What was measured and in which mode."""
    return f"{aspect_name(aspect.suite, aspect.modality)}, {MODES[aspect.mode]}"


def _named(
    name: str,
    found: Sequence[SuiteFigures | None],
    breakdown: Callable[[SuiteFigures], dict[str, Rate]],
) -> RateRow:
    return RateRow.of(name, found, lambda one: breakdown(one).get(name))


def _single(row: RateRow) -> tuple[Cell, ...]:
    rate = row.rates[0]
    if rate is None:
        return (*map(Cell, row.names), *(MISSING,) * 4)
    return (
        *map(Cell, row.names),
        estimate_cell(rate.counted_wrong),
        estimate_cell(rate.dropped),
        estimate_cell(rate.no_answer_rate),
        count_cell(rate.answers),
    )


def _side_by_side(row: RateRow, read: Callable[[Rate], Estimate]) -> tuple[Cell, ...]:
    cells = (MISSING if one is None else estimate_cell(read(one)) for one in row.rates)
    return (*map(Cell, row.names), *cells)
