"""What P(unsafe) is worth: reliability diagram, and its distribution by label."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report.bar_chart import add_title
from benchmarks.report.columns import Aspect, Column
from benchmarks.report.style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    SAFE,
    SERIES,
    SMALL_PT,
    UNSAFE,
    WIDTH_IN,
    Plot,
)
from benchmarks.report.wording import count, number, plural

PICTURES = Aspect("alignment", "token", "image")

_BINS = 20


def reliability_plots(columns: Sequence[Column]) -> list[Plot]:
    """One plot a record that has calibration figures of pictures."""
    plots = []
    for index, column in enumerate(columns):
        figures = column.figures(PICTURES)
        if figures is None or figures.calibration is None:
            continue
        found = figures.calibration
        title = "P(unsafe) against what is unsafe"
        alt = (
            f"Reliability diagram of {column.label}: calibration error {number(found.ece)}; "
            + "; ".join(
                f"P(unsafe) {number(one.mean_p_unsafe)}: {number(one.share_unsafe)} unsafe "
                f"of {count(one.count)}"
                for one in found.bins
                if one.count
            )
            + "."
        )
        name = f"reliability-{index + 1}" if len(columns) > 1 else "reliability"
        plots.append(
            Plot(
                name,
                title,
                alt,
                reliability_figure(title, column.label, found.bins, found.ece, index=index),
            )
        )
    return plots


def distribution_plots(columns: Sequence[Column]) -> list[Plot]:
    """One plot a record whose answers about pictures carry P(unsafe)."""
    plots = []
    for index, column in enumerate(columns):
        rows = [
            (row.is_unsafe, row.p_unsafe)
            for row in column.record.answers
            if Aspect(row.suite, row.mode, row.modality) == PICTURES and row.p_unsafe is not None
        ]
        if not rows:
            continue
        unsafe = np.array([p for is_unsafe, p in rows if is_unsafe], dtype=np.float64)
        safe = np.array([p for is_unsafe, p in rows if not is_unsafe], dtype=np.float64)
        title = "P(unsafe) by label"
        alt = (
            f"Histograms of P(unsafe) for {column.label}: {count(unsafe.size)} answers about "
            f"unsafe pictures{_median(unsafe)}; {count(safe.size)} about safe ones{_median(safe)}."
        )
        name = f"p-unsafe-{index + 1}" if len(columns) > 1 else "p-unsafe"
        plots.append(Plot(name, title, alt, distribution_figure(title, column.label, unsafe, safe)))
    return plots


def _median(values: np.ndarray) -> str:
    return f", median {number(float(np.median(values)))}" if values.size else ""


class ReliabilityBin(Protocol):
    """Answers whose P(unsafe) lies from `low` to `high`."""

    @property
    def low(self) -> float:
        """The lowest P(unsafe) in it."""
        ...

    @property
    def high(self) -> float:
        """The highest."""
        ...

    @property
    def count(self) -> int:
        """How many answers."""
        ...

    @property
    def mean_p_unsafe(self) -> float:
        """How likely they were said to be unsafe."""
        ...

    @property
    def share_unsafe(self) -> float:
        """How many of them are."""
        ...


def reliability_figure(
    title: str, label: str, found: Sequence[ReliabilityBin], ece: float | None, *, index: int = 0
) -> Figure:
    """P(unsafe) against the share that is unsafe, above how many answers that rests on."""
    figure = Figure(figsize=(WIDTH_IN, 5.0))
    add_title(figure, title, f"{label}: calibration error {number(ece)}")
    upper = figure.add_axes((0.125, 0.36, 0.84, 0.51))
    lower = figure.add_axes((0.125, 0.105, 0.84, 0.19))
    bins = [one for one in found if one.count]
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    upper.text(0.985, 0.03, "dashed: perfectly calibrated", ha="right", size=SMALL_PT, color=MUTED)
    upper.plot(
        [one.mean_p_unsafe for one in bins],
        [one.share_unsafe for one in bins],
        color=SERIES[index],
        linewidth=1.6,
        marker="o",
        markersize=5,
        markeredgecolor=PAPER,
        clip_on=False,
        zorder=3,
    )
    upper.set_ylim(0, 1)
    upper.set_ylabel("share that is unsafe")
    upper.tick_params(labelbottom=False)
    lower.bar(
        [one.low for one in found],
        [one.count for one in found],
        width=[one.high - one.low for one in found],
        align="edge",
        color=SERIES[index],
        edgecolor=PAPER,
        linewidth=0.8,
    )
    lower.set_ylabel("answers")
    lower.set_xlabel("P(unsafe)", loc="left")
    for axes in (upper, lower):
        _finish(axes)
    return figure


def distribution_figure(title: str, label: str, unsafe: np.ndarray, safe: np.ndarray) -> Figure:
    """Histograms of P(unsafe), one a label."""
    figure = Figure(figsize=(WIDTH_IN, 5.0))
    add_title(figure, title, label)
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    shares = [
        np.histogram(values, bins=edges)[0] / max(1, values.size) for values in (unsafe, safe)
    ]
    top = 1.05 * max(float(one.max()) for one in shares)
    upper = figure.add_axes((0.125, 0.515, 0.84, 0.325))
    lower = figure.add_axes((0.125, 0.105, 0.84, 0.325))
    for axes, values, heights, colour, name in (
        (upper, unsafe, shares[0], UNSAFE, "unsafe pictures"),
        (lower, safe, shares[1], SAFE, "safe pictures"),
    ):
        axes.bar(
            edges[:-1],
            heights,
            width=1 / _BINS,
            align="edge",
            color=colour,
            edgecolor=PAPER,
            linewidth=0.8,
        )
        axes.axvline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_title(
            f"{name}, {plural(values.size, 'answer')}", loc="left", size=SMALL_PT, color=INK
        )
        axes.set_ylabel("share of answers")
        axes.set_ylim(0.0, top or 1.0)
        _finish(axes)
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("P(unsafe); right of the dashed line the answer says unsafe", loc="left")
    return figure


def _finish(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.grid(visible=True, axis="y")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
