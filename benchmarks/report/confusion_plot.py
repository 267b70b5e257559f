"""Which concept is taken for which: a row for what is shown, a column for what it is taken for.

The first column, grey, counts right answers; mistakes are in colour, the stronger the larger their
share of the row's answers, and those with names beyond `MAX_CONCEPTS` stand together in the last
column: every row adds up. Concepts that were never mistaken have no row, so that labels stay
readable. The table beside the plot has the commonest pairs in words.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.capabilities.schema import Confusion
from benchmarks.report.bar_chart import add_title
from benchmarks.report.columns import Column
from benchmarks.report.style import GRID, INK, MUTED, PAPER, SMALL_PT, UNSAFE, Plot
from benchmarks.report.wording import MODES, clipped
from server.concepts.taxonomy import load_taxonomy

MAX_CONCEPTS = 26
RIGHT = "right"
OTHERS = "others"

_CELL_IN = 0.25
_CHAR_IN = 0.069
_LABEL_GAP_IN = 0.4
_HEAD_IN = 0.75
_RIGHT_IN = 0.75
_LABEL_CHARS = 34
_FEWEST_CELLS = 8


@dataclass(frozen=True, slots=True)
class _Grid:
    """What is drawn: concepts shown, concepts they are taken for, counts, and all of a row's."""

    shown: tuple[str, ...]
    taken_for: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]
    answers: Mapping[str, int]

    @classmethod
    def of(cls, found: Sequence[Confusion]) -> "_Grid":
        wrong = [one for one in found if one.shown != one.taken_for]
        shown = _commonest(_times((one.shown, one.count) for one in wrong))
        named = _commonest(
            _times((one.taken_for, one.count) for one in wrong if one.shown in shown)
        )

        def column(one: Confusion) -> str:
            if one.shown == one.taken_for:
                return RIGHT
            return one.taken_for if one.taken_for in named else OTHERS

        counts: Counter[tuple[str, str]] = Counter()
        for one in found:
            if one.shown in shown:
                counts[one.shown, column(one)] += one.count
        used = {name for _, name in counts}
        return cls(
            shown,
            (RIGHT, *named, *({OTHERS} & used)),
            counts,
            _times((name, count) for (name, _), count in counts.items()),
        )


def confusion_plots(columns: Sequence[Column]) -> list[Plot]:
    """One plot a record and mode that has confusions."""
    plots = []
    for index, column in enumerate(columns):
        for mode, how in MODES.items():
            found = [one for one in column.record.figures.confusions if one.mode == mode]
            grid = _Grid.of(found)
            if not grid.shown:
                continue
            number = f"-{index + 1}" if len(columns) > 1 else ""
            title = f"Concepts taken for others, {how}"
            mistakes = sum(one.count for one in found if one.shown != one.taken_for)
            alt = (
                f"{title}, {column.label}: {mistakes} mistakes; rows are the "
                f"{len(grid.shown)} concepts shown, columns what they were taken for."
            )
            plots.append(
                Plot(
                    f"confusion-{mode}{number}",
                    title,
                    alt,
                    _draw(title, column.label, grid),
                    is_wide=len(grid.taken_for) > _FEWEST_CELLS,
                )
            )
    return plots


def _times(counted: Iterable[tuple[str, int]]) -> Counter[str]:
    times: Counter[str] = Counter()
    for name, count in counted:
        times[name] += count
    return times


def _commonest(times: Counter[str]) -> tuple[str, ...]:
    """The at most `MAX_CONCEPTS` commonest names, category by category."""
    order = sorted(times, key=lambda name: (-times[name], name))
    kept = set(order[:MAX_CONCEPTS])
    known = [name for name in load_taxonomy().concept_names if name in kept]
    return (*known, *sorted(kept.difference(known)))


def _draw(title: str, label: str, grid: _Grid) -> Figure:
    rows = [clipped(name, _LABEL_CHARS) for name in grid.shown]
    heads = [clipped(name, _LABEL_CHARS) for name in grid.taken_for]
    left_in = max(len(name) for name in rows) * _CHAR_IN + _LABEL_GAP_IN
    # Labels below stand at 45 degrees.
    bottom_in = max(len(name) for name in heads) * _CHAR_IN * math.sqrt(0.5) + _LABEL_GAP_IN
    across_in = max(len(heads), _FEWEST_CELLS) * _CELL_IN
    down_in = len(rows) * _CELL_IN
    width_in = left_in + across_in + _RIGHT_IN
    height_in = _HEAD_IN + down_in + bottom_in
    figure = Figure(figsize=(width_in, height_in))
    axes = figure.add_axes(
        (
            left_in / width_in,
            bottom_in / height_in,
            len(heads) * _CELL_IN / width_in,
            down_in / height_in,
        )
    )
    axes.set_xlim(0, len(heads))
    axes.set_ylim(len(rows), 0)
    for y, shown in enumerate(grid.shown):
        for x, taken_for in enumerate(grid.taken_for):
            times = grid.counts.get((shown, taken_for), 0)
            if times:
                _cell(axes, x, y, times, times / grid.answers[shown], taken_for == RIGHT)
        axes.text(
            len(heads) + 0.25,
            y + 0.5,
            f"n {grid.answers[shown]}",
            va="center",
            size=SMALL_PT - 1,
            color=MUTED,
        )
    axes.set_xticks(
        [x + 0.5 for x in range(len(heads))], heads, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks([y + 0.5 for y in range(len(rows))], rows)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xlabel("taken for", loc="right")
    axes.set_ylabel("shown", loc="top")
    axes.hlines(range(len(rows) + 1), 0, len(heads), color=GRID, linewidth=0.6, clip_on=False)
    axes.vlines(range(len(heads) + 1), 0, len(rows), color=GRID, linewidth=0.6, clip_on=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    add_title(figure, title, label)
    return figure


def _cell(axes: Axes, x: int, y: int, times: int, share: float, is_right: bool) -> None:
    colour, alpha = (GRID, 1.0) if is_right else (UNSAFE, 0.15 + 0.85 * share)
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, alpha=alpha, edgecolor="none"))
    axes.text(
        x + 0.5,
        y + 0.52,
        str(times),
        ha="center",
        va="center",
        size=6.5,
        color=PAPER if share > 0.55 and not is_right else INK,
    )
