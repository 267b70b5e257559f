"""Horizontal bars with intervals, the label of a row above its bars.

So the longest concept's name costs no width, and a plot stays readable on a phone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from benchmarks.report.style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    SIDE_IN,
    SMALL_PT,
    TEXT_PT,
    TITLE_PT,
    WIDTH_IN,
)
from benchmarks.report.wording import UNKNOWN, clipped, number

_VALUE_IN = 0.52
_LABEL_IN = 0.21
_BAR_IN = 0.14
_BAR_GAP_IN = 0.035
_ROW_GAP_IN = 0.1
_AXIS_IN = 0.42
_LEGEND_LINE_IN = 0.18
_TITLE_IN = 0.27
_SUBTITLE_IN = 0.2
_LABEL_CHARS = 40
_TWO_LEGEND_COLUMNS_CHARS = 26


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `value` None is written out as unknown. `also` marks a second way of counting."""

    value: float | None
    low: float | None
    high: float | None
    colour: str
    also: float | None = None


@dataclass(frozen=True, slots=True)
class BarRow:
    """A label, a remark beside it and its bars; a bar that is None was not measured."""

    label: str
    note: str
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A figure with one axes in inches downwards; `top` is where its first row begins."""

    figure: Figure
    axes: Axes


def framed(
    title: str,
    subtitle: str,
    *,
    rows_in: float,
    legend: Sequence[Patch | Line2D],
    x_limits: tuple[float, float],
    x_label: str,
) -> Frame:
    """A figure with title, legend and an axes whose y runs from 0 to `rows_in` inches downwards."""
    columns = 2 if all(len(_label(one)) <= _TWO_LEGEND_COLUMNS_CHARS for one in legend) else 1
    legend_in = _LEGEND_LINE_IN * -(-len(legend) // columns) + (0.08 if legend else 0.0)
    head_in = SIDE_IN + _TITLE_IN + _SUBTITLE_IN + legend_in
    height_in = head_in + rows_in + _AXIS_IN
    figure = Figure(figsize=(WIDTH_IN, height_in))
    axes = figure.add_axes(
        (
            SIDE_IN / WIDTH_IN,
            _AXIS_IN / height_in,
            (WIDTH_IN - 2 * SIDE_IN - _VALUE_IN) / WIDTH_IN,
            rows_in / height_in,
        )
    )
    axes.set_xlim(*x_limits)
    axes.set_ylim(rows_in, 0.0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0, pad=3)
    axes.set_xlabel(x_label, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    add_title(figure, title, subtitle)
    if legend:
        figure.legend(
            handles=list(legend),
            loc="upper left",
            bbox_to_anchor=(
                SIDE_IN / WIDTH_IN,
                1 - (SIDE_IN + _TITLE_IN + _SUBTITLE_IN) / height_in,
            ),
            ncols=columns,
            borderaxespad=0.0,
            borderpad=0.0,
            labelspacing=0.35,
            handlelength=1.1,
            handletextpad=0.5,
            columnspacing=1.4,
        )
    return Frame(figure, axes)


def add_title(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle at the figure's upper left."""
    height_in = figure.get_figheight()
    width_in = figure.get_figwidth()
    x = SIDE_IN / width_in
    figure.text(
        x, 1 - SIDE_IN / height_in, clipped(title, 56), va="top", size=TITLE_PT, weight="bold"
    )
    figure.text(
        x,
        1 - (SIDE_IN + _TITLE_IN - 0.04) / height_in,
        clipped(subtitle, 74),
        va="top",
        size=SMALL_PT,
        color=MUTED,
    )


def bar_chart(
    title: str,
    subtitle: str,
    rows: Sequence[BarRow],
    *,
    legend: Sequence[Patch | Line2D] = (),
    x_limits: tuple[float, float] = (0.0, 1.0),
    x_label: str = "",
    shown: Callable[[float | None], str] = number,
) -> Figure:
    """Draw the rows from top to bottom, each value written at the right edge."""
    heights = [_row_in(len(row.bars)) for row in rows]
    frame = framed(
        title,
        subtitle,
        rows_in=sum(heights),
        legend=legend,
        x_limits=x_limits,
        x_label=x_label,
    )
    axes = frame.axes
    axes.grid(visible=True, axis="x")
    top = 0.0
    for row, height in zip(rows, heights, strict=True):
        write_label(axes, top, row.label, row.note)
        for position, bar in enumerate(row.bars):
            y = top + _LABEL_IN + position * (_BAR_IN + _BAR_GAP_IN) + _BAR_IN / 2
            if bar is not None:
                _draw(axes, y, bar, x_limits[1], shown)
        top += height
    return frame.figure


def write_label(axes: Axes, top: float, label: str, note: str) -> None:
    """A row's label, its remark in a quieter colour, on paper so that no grid line crosses it."""
    text = clipped(label, _LABEL_CHARS)
    axes.annotate(
        text,
        (axes.get_xlim()[0], top + _LABEL_IN - 0.045),
        va="baseline",
        ha="left",
        size=TEXT_PT,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        annotation_clip=False,
    )
    if note:
        _write_at_edge(axes, top + _LABEL_IN - 0.045, note, va="baseline", color=MUTED)


def write_value(axes: Axes, y: float, text: str) -> None:
    """A figure at the right edge of the plot, outside of the axes."""
    _write_at_edge(axes, y, text, va="center_baseline", color=INK)


def _write_at_edge(axes: Axes, y: float, text: str, **style: Any) -> None:
    axes.annotate(
        text,
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(_VALUE_IN * 72, 0),
        textcoords="offset points",
        ha="right",
        size=SMALL_PT,
        annotation_clip=False,
        **style,
    )


def _row_in(bars: int) -> float:
    return _LABEL_IN + bars * _BAR_IN + (bars - 1) * _BAR_GAP_IN + _ROW_GAP_IN


def _draw(axes: Axes, y: float, bar: Bar, end: float, shown: Callable[[float | None], str]) -> None:
    axes.barh(
        y, end - axes.get_xlim()[0], height=_BAR_IN, left=axes.get_xlim()[0], color=GRID, alpha=0.45
    )
    if bar.value is None:
        write_value(axes, y, UNKNOWN)
        return
    axes.barh(y, bar.value, height=_BAR_IN, color=bar.colour)
    if bar.low is not None and bar.high is not None and bar.high > bar.low:
        axes.plot([bar.low, bar.high], [y, y], color=PAPER, linewidth=3.2, solid_capstyle="butt")
        axes.plot([bar.low, bar.high], [y, y], color=INK, linewidth=1.1, solid_capstyle="butt")
    if bar.also is not None:
        axes.plot([bar.also], [y], **ALSO_MARKER)
    write_value(axes, y, shown(bar.value))


ALSO_MARKER: dict[str, Any] = {
    "marker": "D",
    "markersize": 4.2,
    "markerfacecolor": PAPER,
    "markeredgecolor": INK,
    "markeredgewidth": 0.9,
    "linestyle": "none",
    "clip_on": False,
}


def _label(handle: Patch | Line2D) -> str:
    return str(handle.get_label())
