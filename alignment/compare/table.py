"""The table: what the columns are, a row a method, mean and range over its seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alignment.compare.contestant_figures import ModelFigures
from alignment.compare.plan import BASE, Contestant


@dataclass(frozen=True, slots=True)
class Column:
    """One figure: its key among a model's figures, its heading, and in words what it is."""

    key: str
    title: str
    meaning: str
    digits: int = 3


MEAN = Column(
    "mean",
    "mean",
    "mean of balanced accuracy on pictures, 1 - Self-BLEU and general ability",
)
COLUMNS: tuple[Column, ...] = (
    Column("images_overall", "images", "pictures judged right, one token"),
    Column("images_safe", "safe", "of safe pictures"),
    Column("images_unsafe", "unsafe", "of unsafe pictures (S1's alignment)"),
    Column("images_balanced", "balanced", "mean of the two"),
    Column("images_auc", "AUC", "of P(unsafe) on pictures, not calibrated"),
    Column("images_ece", "ECE", "of P(unsafe) on pictures, 15 bins, not calibrated"),
    Column("text_balanced", "text", "names judged right, one token, no picture; balanced"),
    Column("gap", "gap", "S1's: unsafe names on a blank picture minus unsafe pictures"),
    Column("gap_balanced", "gap, balanced", "text minus images, both balanced"),
    Column("written_balanced", "written, rules", "written answers, read by the reward's parser"),
    Column("second_balanced", "written, 2nd judge", "the same answers, read by the second judge"),
    Column("written_no_answer", "no answer", "of written answers, by the rules"),
    Column("diversity", "1 - Self-BLEU", "of written answers about pictures"),
    Column("length_tokens", "length", "of written answers, tokens", digits=1),
    Column("informativeness", "informative", "new content words, 1 is 8 or more"),
    Column("general", "general", "built-in questions on objects, colours, counts, one token"),
    Column("level_right", "level", "of risk (0-3), said right of pictures"),
    Column("level_balanced", "level, balanced", "the same, levels alike"),
    Column("type_right", "type", "of risk (nine categories and clean), said right of pictures"),
    Column("type_balanced", "type, balanced", "the same, types alike"),
    Column("head_auc", "head's AUC", "of the safety head's 1 - P(clean) on pictures"),
    Column("outside_balanced", "outside", "the other set, one token, balanced"),
    Column("outside_auc", "outside AUC", "of P(unsafe) there"),
    MEAN,
)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, lowest and highest over seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """A method: its seeds (none for the base) and each figure's spread, None where not known."""

    name: str
    seeds: tuple[int, ...]
    spreads: Mapping[str, Spread | None]
    by_seed: tuple[ModelFigures, ...]


def rows_of(figures: Mapping[Contestant, ModelFigures]) -> list[Row]:
    """One row a method, in the order in which they first occur."""
    by_method: dict[str, list[tuple[Contestant, ModelFigures]]] = {}
    for contestant, found in figures.items():
        by_method.setdefault(contestant.method or BASE, []).append((contestant, found))
    return [
        row_of(
            name,
            [found for _, found in runs],
            seeds=tuple(one.seed for one, _ in runs if one.seed is not None),
        )
        for name, runs in by_method.items()
    ]


def row_of(name: str, figures: Sequence[ModelFigures], *, seeds: tuple[int, ...] = ()) -> Row:
    """A row from the figures of each of its models."""
    keys = dict.fromkeys(key for one in figures for key in one)
    return Row(
        name,
        seeds,
        {key: spread([one.get(key) for one in figures]) for key in keys},
        tuple(figures),
    )


def spread(values: Sequence[float | None]) -> Spread | None:
    """None where any is unknown: a mean over fewer seeds would be another figure."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(math.fsum(known) / len(known), min(known), max(known))


def markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table with figures down and methods across, and what each figure is.

    A figure that was taken of no method is left out.
    """
    heads = [
        row.name + (f" ({len(row.seeds)} seed{'s'[: len(row.seeds) != 1]})" if row.seeds else "")
        for row in rows
    ]
    lines = ["| | " + " | ".join(heads) + " | |", "|---" * (len(rows) + 2) + "|"]
    for column in COLUMNS:
        if not any(column.key in row.spreads for row in rows):
            continue
        cells = [_cell(row.spreads.get(column.key), column.digits) for row in rows]
        lines.append(f"| {column.title} | " + " | ".join(cells) + f" | {column.meaning} |")
    lines += ["", "Mean over seeds, with lowest and highest.", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row], notes: Sequence[str]) -> dict[str, object]:
    """The same with every seed's figures."""
    return {
        "columns": [
            {"key": one.key, "title": one.title, "meaning": one.meaning} for one in COLUMNS
        ],
        "spread": "mean, lowest and highest over seeds",
        "notes": list(notes),
        "rows": [
            {
                "name": row.name,
                "seeds": list(row.seeds),
                "figures": {
                    key: None if found is None else [found.mean, found.low, found.high]
                    for key, found in row.spreads.items()
                },
                "by_seed": [dict(one) for one in row.by_seed],
            }
            for row in rows
        ],
    }


def _cell(found: Spread | None, digits: int) -> str:
    if found is None:
        return ""
    shown = f"{found.mean:.{digits}f}"
    if found.low == found.high:
        return shown
    return f"{shown} ({found.low:.{digits}f} to {found.high:.{digits}f})"
