"""A table before it is written as HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.report.columns import Column
from benchmarks.report.wording import NOT_MEASURED, count, interval, number, signed
from benchmarks.stats import Estimate


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure: its text, the interval beside it, and what a reader may sort it by."""

    text: str
    detail: str = ""
    sort: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under `head`; the first cell of a row names it. `note` says how to read it."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    names: frozenset[str] = field(default_factory=frozenset)
    """Heads whose cells are words rather than figures."""


MISSING = Cell(NOT_MEASURED)


def estimate_cell(found: Estimate, *, with_sign: bool = False) -> Cell:
    """A value with its interval."""
    shown = signed(found.value) if with_sign else number(found.value)
    return Cell(shown, interval(found, with_sign=with_sign), found.value)


def count_cell(value: int) -> Cell:
    """A whole number."""
    return Cell(count(value), sort=float(value))


def heads(columns: Sequence[Column], alone: str) -> tuple[str, ...]:
    """The heads of figures: `alone` for one record, else the records' labels."""
    return (alone,) if len(columns) == 1 else tuple(column.label for column in columns)
