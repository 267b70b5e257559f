"""Whether two replays differ by more than chance: paired judgement, unpaired speed.

Judgement is compared over the pictures that both answered; the bootstrap draws the same pictures
(with their near-duplicates and all passes) for both. Latencies of neighbouring requests depend on
one another: there the unit that is drawn is a slice of time, from each run by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.errors import MeasurementError
from benchmarks.replay.accuracy import answers_of, statistics
from benchmarks.replay.record import ReplayRecord, read_replay
from benchmarks.replay.rows import Row
from benchmarks.replay.tables import ACCURACY_LABELS
from benchmarks.served_figures import Answers
from benchmarks.stats import Estimate, Indices, difference
from benchmarks.tables import show

_SLICES = 40
_LOW, _HIGH = 2.5, 97.5

SMALLER_IS_BETTER = frozenset(
    {"fpr_at_95_recall", "ece", "brier", "no_answer_rate", "p50_ms", "p90_ms", "p95_ms", "p99_ms"}
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of A, the same of B, and B minus A with its 95% interval."""

    name: str
    a: float | None
    b: float | None
    difference: Estimate

    @property
    def verdict(self) -> str:
        """Which is better, where the interval leaves out 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0.0 <= high:
            return "no difference shown"
        return "B is better" if (low > 0.0) != (self.name in SMALLER_IS_BETTER) else "A is better"


@dataclass(frozen=True, slots=True)
class ReplayComparison:
    """All figures; `warnings` say what else differs between the records."""

    a: str
    b: str
    pictures: int
    figures: tuple[Compared, ...]
    warnings: tuple[str, ...]


def run_compare_replays(
    path_a: Path, path_b: Path, console: Console, *, seed: int, resamples: int
) -> ReplayComparison:
    """Compare two record files and print the table; raises `MeasurementError`."""
    found = compare_replays(
        read_replay(path_a), read_replay(path_b), seed=seed, resamples=resamples
    )
    show([comparison_table(found)], console)
    for warning in found.warnings:
        console.print(f"Note: {warning}.", style="yellow", markup=False, highlight=False)
    return found


def compare_replays(
    a: ReplayRecord, b: ReplayRecord, *, seed: int, resamples: int
) -> ReplayComparison:
    """Every figure; raises `MeasurementError` for records of different data or pictures."""
    if a.data.sha256 != b.data.sha256:
        raise MeasurementError(f"the records are of different data: {a.data.name}, {b.data.name}")
    rows_a, rows_b = _answered(a), _answered(b)
    common = {row.id for row in rows_a} & {row.id for row in rows_b}
    if not common:
        raise MeasurementError("the two records have no answered picture in common")
    rows_a = [row for row in rows_a if row.id in common]
    rows_b = [row for row in rows_b if row.id in common]
    return ReplayComparison(
        a=_name(a),
        b=_name(b),
        pictures=len(common),
        figures=(
            *_judgement(rows_a, rows_b, seed=seed, resamples=resamples),
            *_speed(a.measurements, b.measurements, a, b, seed=seed, resamples=resamples),
        ),
        warnings=_warnings(a, b),
    )


def comparison_table(found: ReplayComparison) -> Table:
    """A line a figure."""
    table = Table(
        title=f"A: {found.a}\nB: {found.b}",
        caption=(
            f"Judgement on the {found.pictures} pictures that both answered: paired bootstrap over "
            "pictures, near-duplicates together. Speed: slices of time drawn from each run. A "
            "difference is shown where its 95% interval leaves out 0; these are "
            f"{len(found.figures)} looks, so one in twenty may come by chance."
        ),
        title_justify="left",
        caption_justify="left",
    )
    for column in ("", "A", "B", "B - A", "verdict"):
        table.add_column(column, overflow="fold")
    for one in found.figures:
        digits = 1 if one.name.endswith("_ms") else 2 if one.name.endswith("_per_s") else 3
        label = ACCURACY_LABELS.get(one.name, one.name.replace("_per_s", " a second"))
        table.add_row(
            label.removesuffix("_ms") + (", ms" if one.name.endswith("_ms") else ""),
            _shown(one.a, digits),
            _shown(one.b, digits),
            _interval(one.difference, digits),
            one.verdict,
        )
    return table


def _answered(record: ReplayRecord) -> list[Row]:
    return [row for row in record.measurements if row.end == "ok"]


def _judgement(a: Sequence[Row], b: Sequence[Row], *, seed: int, resamples: int) -> list[Compared]:
    of_a, of_b = _ByGroup.of(a), _ByGroup.of(b)
    groups = sorted(of_a.members.keys() & of_b.members.keys())
    draws = np.random.default_rng(seed).integers(len(groups), size=(resamples, len(groups)))
    figures_a, figures_b = statistics(of_a.answers), statistics(of_b.answers)
    found = []
    for name, figure_a in figures_a.items():
        figure_b = figures_b[name]
        drawn = [
            value
            for draw in draws
            if (
                value := difference(
                    figure_b(of_b.rows(groups, draw)), figure_a(of_a.rows(groups, draw))
                )
            )
            is not None
        ]
        everything = np.arange(len(groups))
        value_a = figure_a(of_a.rows(groups, everything))
        value_b = figure_b(of_b.rows(groups, everything))
        found.append(Compared(name, value_a, value_b, _estimate(value_a, value_b, drawn)))
    return found


@dataclass(frozen=True, slots=True)
class _ByGroup:
    answers: Answers
    members: Mapping[str, Indices]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_ByGroup":
        members: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            members.setdefault(row.group, []).append(index)
        return cls(
            answers_of(rows),
            {name: np.array(found, dtype=np.intp) for name, found in members.items()},
        )

    def rows(self, groups: Sequence[str], drawn: NDArray[np.int64]) -> Indices:
        return np.concatenate([self.members[groups[index]] for index in drawn])


def _speed(
    a: Sequence[Row],
    b: Sequence[Row],
    record_a: ReplayRecord,
    record_b: ReplayRecord,
    *,
    seed: int,
    resamples: int,
) -> list[Compared]:
    of_a = _Slices.of(a, record_a.config["objective_ms"])
    of_b = _Slices.of(b, record_b.config["objective_ms"])
    random = np.random.default_rng(seed)
    draws_a = random.integers(_SLICES, size=(resamples, _SLICES))
    draws_b = random.integers(_SLICES, size=(resamples, _SLICES))
    everything = np.arange(_SLICES)
    figures: dict[str, Callable[[_Slices, NDArray[np.int64]], float | None]] = {
        "throughput_per_s": _Slices.throughput_per_s,
        "goodput_per_s": _Slices.goodput_per_s,
        **{f"p{p}_ms": _percentile_of(p) for p in (50, 90, 95, 99)},
    }
    found = []
    for name, figure in figures.items():
        drawn = [
            value
            for one, two in zip(draws_a, draws_b, strict=True)
            if (value := difference(figure(of_b, two), figure(of_a, one))) is not None
        ]
        value_a, value_b = figure(of_a, everything), figure(of_b, everything)
        found.append(Compared(name, value_a, value_b, _estimate(value_a, value_b, drawn)))
    return found


def _percentile_of(p: int) -> "Callable[[_Slices, NDArray[np.int64]], float | None]":
    def figure(slices: "_Slices", drawn: NDArray[np.int64]) -> float | None:
        values = np.concatenate([slices.latencies_ms[index] for index in drawn])
        return float(np.percentile(values, p)) if values.size else None

    return figure


@dataclass(frozen=True, slots=True)
class _Slices:
    """A run cut into slices of equal length by when requests ended; answers alone."""

    seconds: float
    latencies_ms: Sequence[NDArray[np.float64]]
    in_time: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], objective_ms: float) -> "_Slices":
        ended = np.array([row.ended_s for row in rows])
        begins = min(row.due_s for row in rows)
        seconds = float(ended.max() - begins)
        place = np.minimum(((ended - begins) / seconds * _SLICES).astype(int), _SLICES - 1)
        answered = np.array([row.end == "ok" for row in rows])
        latency = np.array([row.latency_ms for row in rows])
        parts = [latency[answered & (place == index)] for index in range(_SLICES)]
        in_time = np.array([float((part <= objective_ms).sum()) for part in parts])
        return cls(seconds, parts, in_time)

    def throughput_per_s(self, drawn: NDArray[np.int64]) -> float:
        return float(sum(self.latencies_ms[index].size for index in drawn)) / self.seconds

    def goodput_per_s(self, drawn: NDArray[np.int64]) -> float:
        return float(self.in_time[drawn].sum()) / self.seconds


def _estimate(a: float | None, b: float | None, drawn: Sequence[float]) -> Estimate:
    value = difference(b, a)
    if value is None or not drawn:
        return Estimate(value, None, None)
    low, high = np.percentile(drawn, [_LOW, _HIGH])
    return Estimate(value, float(low), float(high))


def _warnings(a: ReplayRecord, b: ReplayRecord) -> tuple[str, ...]:
    found = [
        f"{name} differs ({a.config[name]} and {b.config[name]})"
        for name in ("loop", "pixels", "contract", "objective_ms", "passes")
        if a.config[name] != b.config[name]
    ]
    if a.hardware != b.hardware:
        found.append("the clients ran on different machines")
    for name, record in (("A", a), ("B", b)):
        unanswered = sum(row.end != "ok" for row in record.measurements)
        if unanswered:
            found.append(
                f"{unanswered} of the {len(record.measurements)} requests of {name} were not "
                "answered and have no part in the judgement"
            )
    return tuple(found)


def _name(record: ReplayRecord) -> str:
    return f"{record.model_version[:60]}, {record.config['loop']}, {record.created}"


def _shown(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _interval(found: Estimate, digits: int) -> str:
    if found.value is None:
        return "unknown"
    shown = f"{found.value:+.{digits}f}"
    if found.low is None or found.high is None:
        return shown
    return f"{shown} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"
