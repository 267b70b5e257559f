"""Whether one model's capabilities differ from another's by more than chance: two records, paired.

Only tasks that both records hold are compared, so both models were asked the same about the same
pictures; a task whose options or right answer differ (another seed) is another task. Every
difference has a test, and all p-values are corrected together (Holm), since among twenty
comparisons of equal models one would pass by luck.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.capabilities.schema import AnswerRow, CapabilitiesRecord, read_record
from benchmarks.comparison import Comparison, Difference, Verdict
from benchmarks.differences import differences_of
from benchmarks.errors import MeasurementError
from benchmarks.significance import holm

SIGNIFICANCE = 0.05

_VERSION_CHARS = 12


def run_compare(
    path_a: Path, path_b: Path, console: Console, *, seed: int = 2024, resamples: int = 1000
) -> Comparison:
    """Compare two record files and print the tables; raises `MeasurementError`."""
    from benchmarks.compare_tables import compare_tables
    from benchmarks.tables import show

    comparison = compare_records(
        read_record(path_a), read_record(path_b), seed=seed, resamples=resamples
    )
    show(compare_tables(comparison), console)
    for warning in comparison.warnings:
        console.print(f"Note: {warning}.", style="yellow", markup=False, highlight=False)
    return comparison


def compare_records(
    a: CapabilitiesRecord, b: CapabilitiesRecord, *, seed: int = 2024, resamples: int = 1000
) -> Comparison:
    """Every difference that both records allow.

    Raises `MeasurementError` for records of different data, split or schema, and for records that
    have no question in common.
    """
    _refuse_different_data(a, b)
    common = _common(a.answers, b.answers)
    if not common:
        raise MeasurementError("the two records have no question in common")
    differences = differences_of(
        [one for one, _ in common], [two for _, two in common], seed=seed, resamples=resamples
    )
    corrected = holm([difference.p for difference in differences])
    return Comparison(
        a=_name(a),
        b=_name(b),
        data=f"{a.data.name}, {a.data.split}",
        common_tasks=len(common),
        differences=tuple(
            replace(difference, p_holm=p_holm, verdict=_verdict(difference, p_holm))
            for difference, p_holm in zip(differences, corrected, strict=True)
        ),
        warnings=_warnings(a, b, len(common)),
    )


def _verdict(difference: Difference, p_holm: float | None) -> Verdict:
    """A difference counts when its test and its interval agree that it isn't 0."""
    found = difference.counted_wrong.difference
    if p_holm is None or p_holm >= SIGNIFICANCE or found.low is None or found.high is None:
        return "no difference shown"
    if found.low <= 0.0 <= found.high:
        return "no difference shown"
    is_more = found.low > 0.0
    smaller_is_better = difference.measure == "modality gap"
    return "B is better" if is_more != smaller_is_better else "A is better"


def _name(record: CapabilitiesRecord) -> str:
    return f"{record.model.id}@{record.model.version[:_VERSION_CHARS]} ({record.model.engine})"


def _refuse_different_data(a: CapabilitiesRecord, b: CapabilitiesRecord) -> None:
    if a.schema_version != b.schema_version:
        raise MeasurementError(
            f"the records have different schemas: {a.schema_version} and {b.schema_version}"
        )
    if a.data.sha256 != b.data.sha256:
        raise MeasurementError(
            f"the records are of different data: {a.data.name} ({a.data.sha256[:12]}) and "
            f"{b.data.name} ({b.data.sha256[:12]})"
        )
    if a.data.split != b.data.split:
        raise MeasurementError(
            f"the records are of different splits: {a.data.split} and {b.data.split}"
        )


def _common(a: Sequence[AnswerRow], b: Sequence[AnswerRow]) -> list[tuple[AnswerRow, AnswerRow]]:
    """The answers of both to the same question, sorted by task."""
    by_task = {row.task: row for row in b}
    return [
        (row, other)
        for row in sorted(a, key=lambda row: row.task)
        if (other := by_task.get(row.task)) is not None
        and (row.names, row.right) == (other.names, other.right)
    ]


def _warnings(a: CapabilitiesRecord, b: CapabilitiesRecord, common: int) -> tuple[str, ...]:
    warnings: list[str] = []
    for name in sorted(a.versions.keys() | b.versions.keys()):
        one, two = a.versions.get(name, "none"), b.versions.get(name, "none")
        if one != two:
            warnings.append(
                f"the versions of {name} differ ({one} and {two}), so the models may have been "
                "asked in other words"
            )
    for mode in sorted(a.model.readers.keys() & b.model.readers.keys()):
        reader_a, reader_b = a.model.readers[mode], b.model.readers[mode]
        if reader_a != reader_b:
            warnings.append(f"{mode} answers were read by {reader_a} for A and {reader_b} for B")
    for name, record in (("A", a), ("B", b)):
        alone = len(record.answers) - common
        if alone:
            warnings.append(
                f"{alone} of the {len(record.answers)} questions to {name} were not put to the "
                "other in the same way and are left out"
            )
    return tuple(warnings)
