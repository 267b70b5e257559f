"""The rows of an audit as counts: what every figure of the summary is made of.

Rows that are alike in all that the summary asks about share a cell, so that a data set of any size
becomes a few hundred numbers in one pass.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from server.audit.labels import Label
from server.audit.store import AuditStore

FLAGGED = "flagged"
REVIEW = "review"
NOT_JUDGED = "not judged"
_UNCERTAIN_FROM = 0.1

_COLUMNS = [
    "id",
    "path",
    "flagged",
    "action",
    "outcome",
    "p_unsafe",
    "category",
    "concept",
    "error",
    "label",
    "label_category",
]


class Cell(NamedTuple):
    """What alike rows have in common.

    `stratum` is what a sample is drawn by. `is_unsafe` and `true_category` are a person's word,
    None and empty where there is none.
    """

    stratum: str
    flagged: bool
    action: str
    category: str
    is_unsafe: bool | None
    true_category: str


@dataclass(slots=True)
class Tally:
    """Counts over all rows; `concepts` counts flagged rows by category and concept."""

    cells: Counter[Cell] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    concepts: Counter[tuple[str, str]] = field(default_factory=Counter)
    undetermined: int = 0

    @property
    def images(self) -> int:
        """All rows."""
        return self.cells.total()

    @property
    def labelled(self) -> int:
        """Rows with a person's word."""
        return sum(count for cell, count in self.cells.items() if cell.is_unsafe is not None)

    def count(self, **wanted: object) -> int:
        """Rows whose cell has all of these values."""
        return sum(
            number
            for cell, number in self.cells.items()
            if all(getattr(cell, name) == value for name, value in wanted.items())
        )


def stratum_of(row: Mapping[str, Any]) -> str:
    """What a sample is drawn by: flagged, held for review, allowed with doubt, allowed, unjudged.

    The doubtful are drawn apart because most of what was missed is among them.
    """
    if row["p_unsafe"] is None:
        return NOT_JUDGED
    if row["flagged"]:
        return FLAGGED
    if row["action"] != "allow":
        return REVIEW
    if row["p_unsafe"] >= _UNCERTAIN_FROM:
        return f"allowed from {_UNCERTAIN_FROM}"
    return "allowed"


def tally_rows(store: AuditStore, labels: Mapping[str, Label] | None = None) -> Tally:
    """Count all rows. `labels`, by id or path, take the place of those that came with the data."""
    tally = Tally()
    for table in store.batches(_COLUMNS):
        for row in table.to_pylist():
            is_unsafe, true_category = _truth(row, labels)
            cell = Cell(
                stratum=stratum_of(row),
                flagged=row["flagged"],
                action=row["action"],
                category=row["category"] or "",
                is_unsafe=is_unsafe,
                true_category=true_category,
            )
            tally.cells[cell] += 1
            if row["error"] is not None:
                tally.errors[row["error"]] += 1
            elif row["p_unsafe"] is None:
                tally.undetermined += 1
            if row["flagged"]:
                tally.concepts[cell.category, row["concept"] or ""] += 1
    return tally


def _truth(row: Mapping[str, Any], labels: Mapping[str, Label] | None) -> tuple[bool | None, str]:
    if labels is not None:
        label = labels.get(row["id"]) or labels.get(row["path"])
        return (None, "") if label is None else (label.is_unsafe, label.category)
    if row["label"] is None:
        return None, ""
    return row["label"] == "Unsafe", row["label_category"] or ""
