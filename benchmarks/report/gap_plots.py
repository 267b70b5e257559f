"""The modality gap, drawn: for each category or concept a line from pictures to words.

A gap to the right says that words are judged better than pictures, S1's finding.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks.capabilities.schema import Rate, SuiteFigures
from benchmarks.report.bar_chart import framed, write_label, write_value
from benchmarks.report.columns import (
    SAFE_CATEGORY,
    Aspect,
    Column,
    aspects_of,
    categories_of,
    concepts_of,
    data_names,
)
from benchmarks.report.rate_plots import counts, legend_of
from benchmarks.report.style import INK, PAPER, SERIES, Plot
from benchmarks.report.wording import MODALITIES, MODES, signed
from benchmarks.stats import difference

_LABEL_IN = 0.21
_LINE_IN = 0.17
_ROW_GAP_IN = 0.07


@dataclass(frozen=True, slots=True)
class _Side:
    """The figures of the record at `index` that a gap lies between."""

    index: int
    by_picture: SuiteFigures
    by_words: SuiteFigures


@dataclass(frozen=True, slots=True)
class _Pair:
    """A record's two rates of one row; `series` picks its colour."""

    series: int
    picture: Rate
    words: Rate

    @property
    def gap(self) -> float | None:
        return difference(self.words.counted_wrong.value, self.picture.counted_wrong.value)


def category_gap_plots(columns: Sequence[Column]) -> list[Plot]:
    """All records in one plot, for each mode and way of asking by words."""
    plots: list[Plot] = []
    for aspect in aspects_of(columns, "text"):
        rows = _rows(_sides(columns, aspect), lambda one: one.by_category, categories_of)
        rows.pop(SAFE_CATEGORY, None)
        if rows:
            name = f"gap-category-{aspect.modality}-{aspect.mode}"
            plots.append(_plot(name, f"Gap by category, {_how(aspect)}", rows, columns))
    return plots


def concept_gap_plots(columns: Sequence[Column]) -> list[Plot]:
    """A plot a record, for each mode and way of asking by words."""
    plots: list[Plot] = []
    for aspect in aspects_of(columns, "text"):
        for side in _sides(columns, aspect):
            rows = _rows([side], lambda one: one.by_concept, concepts_of)
            if rows:
                number = f"-{side.index + 1}" if len(columns) > 1 else ""
                name = f"gap-concept-{aspect.modality}-{aspect.mode}{number}"
                title = f"Gap by concept, {_how(aspect)}"
                plots.append(_plot(name, title, rows, columns, of=columns[side.index]))
    return plots


def _sides(columns: Sequence[Column], words: Aspect) -> list[_Side]:
    pictures = Aspect("alignment", words.mode, "image")
    return [
        _Side(index, by_picture, by_words)
        for index, column in enumerate(columns)
        if (by_picture := column.figures(pictures)) and (by_words := column.figures(words))
    ]


def _how(words: Aspect) -> str:
    return f"{MODES[words.mode]}, {MODALITIES[words.modality].removeprefix('by words, ')}"


def _rows(
    sides: Sequence[_Side],
    breakdown: Callable[[SuiteFigures], dict[str, Rate]],
    ordered: Callable[[Iterable[dict[str, Rate]]], list[str]],
) -> dict[str, tuple[_Pair, ...]]:
    """The rows that both sides have, in the taxonomy's order."""
    rows: dict[str, tuple[_Pair, ...]] = {}
    for name in ordered(breakdown(side.by_picture) for side in sides):
        pairs = tuple(
            _Pair(side.index, breakdown(side.by_picture)[name], breakdown(side.by_words)[name])
            for side in sides
            if name in breakdown(side.by_picture) and name in breakdown(side.by_words)
        )
        if pairs:
            rows[name] = pairs
    return rows


def _plot(
    name: str,
    title: str,
    rows: dict[str, tuple[_Pair, ...]],
    columns: Sequence[Column],
    *,
    of: Column | None = None,
) -> Plot:
    heights = [_LABEL_IN + len(pairs) * _LINE_IN + _ROW_GAP_IN for pairs in rows.values()]
    frame = framed(
        title,
        of.label if of is not None and len(columns) > 1 else data_names(columns),
        rows_in=sum(heights),
        legend=[*_marks(), *([] if of else legend_of(columns, range(len(columns))))],
        x_limits=(-0.02, 1.02),
        x_label="share judged unsafe, no answer counted wrong; right: words minus pictures",
    )
    axes = frame.axes
    axes.grid(visible=True, axis="x")
    top = 0.0
    for (label, pairs), height in zip(rows.items(), heights, strict=True):
        write_label(axes, top, label, counts([pair.picture.answers for pair in pairs]))
        for position, pair in enumerate(pairs):
            _draw(axes, top + _LABEL_IN + (position + 0.5) * _LINE_IN, pair)
        top += height
    words = "; ".join(
        f"{label} {', '.join(signed(pair.gap) for pair in pairs)}" for label, pairs in rows.items()
    )
    return Plot(name, title, f"{title}: words minus pictures: {words}.", frame.figure)


def _marks() -> list[Line2D]:
    """What a disc and a ring stand for, in a colour that no record has."""
    shared: dict[str, Any] = {
        "linestyle": "none",
        "marker": "o",
        "markeredgecolor": INK,
    }
    return [
        Line2D([], [], label="by picture", markersize=3.8, markerfacecolor=INK, **shared),
        Line2D([], [], label="by words", markersize=6.5, markerfacecolor=PAPER, **shared),
    ]


def _draw(axes: Axes, y: float, pair: _Pair) -> None:
    colour = SERIES[pair.series]
    picture, words = pair.picture.counted_wrong.value, pair.words.counted_wrong.value
    if picture is not None and words is not None:
        axes.plot([picture, words], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
    # The disc is the smaller one and on top, so that both show where they meet.
    for value, filling, size in ((words, PAPER, 7.4), (picture, colour, 3.6)):
        if value is not None:
            axes.plot(
                [value],
                [y],
                marker="o",
                markersize=size,
                markerfacecolor=filling,
                markeredgecolor=colour,
                markeredgewidth=1.4,
                clip_on=False,
            )
    write_value(axes, y, signed(pair.gap))
