"""The records of one report side by side: a column each, with a label that tells them apart."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.capabilities.schema import CapabilitiesRecord, Rate, SuiteFigures, read_record
from benchmarks.capabilities.tasks import Modality, Mode, Suite
from benchmarks.errors import MeasurementError
from benchmarks.report.wording import clipped
from server.concepts.taxonomy import load_taxonomy

MAX_RECORDS = 8
"""As many as there are colours that can be told apart; S1 compares eight VLMs."""

SAFE_CATEGORY = "Safe"

_SUITES: tuple[Suite, ...] = ("perception", "alignment", "text", "context", "general")
_MODES: tuple[Mode, ...] = ("token", "written")
_MODALITIES: tuple[Modality, ...] = ("image", "blank", "words")
_LABEL_CHARS = 40


@dataclass(frozen=True, slots=True)
class Aspect:
    """What `SuiteFigures` are about: one suite in one mode and modality."""

    suite: Suite
    mode: Mode
    modality: Modality


@dataclass(frozen=True, slots=True)
class Column:
    """One record and what it is called on the page; `label` is one short line."""

    label: str
    record: CapabilitiesRecord

    def figures(self, aspect: Aspect) -> SuiteFigures | None:
        """The figures of `aspect`; None where it was not measured."""
        for found in self.record.figures.suites:
            if Aspect(found.suite, found.mode, found.modality) == aspect:
                return found
        return None


def read_columns(paths: Sequence[Path]) -> tuple[Column, ...]:
    """Read the records in the order given.

    Raises `MeasurementError` for none, for too many, and for a file that is no record.
    """
    if not paths:
        raise MeasurementError("a report needs at least one record file")
    if len(paths) > MAX_RECORDS:
        raise MeasurementError(
            f"a report compares at most {MAX_RECORDS} records, not {len(paths)}: "
            "more colours could not be told apart"
        )
    return label_columns([read_record(path) for path in paths])


def label_columns(records: Sequence[CapabilitiesRecord]) -> tuple[Column, ...]:
    """Name each record by as little as tells it apart: model, data and version, then a number."""
    names = [clipped(one.model.id.rstrip("/").rsplit("/", 1)[-1], _LABEL_CHARS) for one in records]
    origins = [clipped(f"{one.data.name} {one.data.split}", _LABEL_CHARS) for one in records]
    versions = [clipped(one.model.version, _LABEL_CHARS) for one in records]
    for details in (origins, versions):
        taken = Counter(names)
        differs = {
            name: len({d for n, d in zip(names, details, strict=True) if n == name}) > 1
            for name in taken
        }
        names = [
            f"{name}, {detail}" if differs[name] else name
            for name, detail in zip(names, details, strict=True)
        ]
    taken = Counter(names)
    seen: Counter[str] = Counter()
    labels: list[str] = []
    for name in names:
        seen[name] += 1
        labels.append(f"{name} ({seen[name]})" if taken[name] > 1 else name)
    return tuple(Column(label, one) for label, one in zip(labels, records, strict=True))


def aspects_of(columns: Iterable[Column], *suites: Suite) -> list[Aspect]:
    """What at least one record measured, in the order of a report; only `suites` where given."""
    found = {
        Aspect(one.suite, one.mode, one.modality)
        for column in columns
        for one in column.record.figures.suites
        if not suites or one.suite in suites
    }
    return sorted(
        found,
        key=lambda one: (
            _SUITES.index(one.suite),
            _MODALITIES.index(one.modality),
            _MODES.index(one.mode),
        ),
    )


def categories_of(breakdowns: Iterable[dict[str, Rate]]) -> list[str]:
    """Categories that occur, in the taxonomy's order; others after them and ``Safe`` last."""
    found = {name for one in breakdowns for name in one}
    known = [name for name in load_taxonomy().category_names if name in found]
    others = sorted(found.difference(known, {SAFE_CATEGORY}))
    return [*known, *others, *([SAFE_CATEGORY] if SAFE_CATEGORY in found else [])]


def concepts_of(breakdowns: Iterable[dict[str, Rate]]) -> list[str]:
    """Concepts that occur, in the taxonomy's order, then others by name."""
    found = {name for one in breakdowns for name in one}
    known = [name for name in load_taxonomy().concept_names if name in found]
    return [*known, *sorted(found.difference(known))]


def data_names(columns: Sequence[Column]) -> str:
    """The data sets of all records in one short line."""
    names = dict.fromkeys(f"{one.record.data.name}, {one.record.data.split}" for one in columns)
    return " / ".join(names)
