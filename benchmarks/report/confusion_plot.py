"""Which concept is taken for which: a matrix of the concepts that occur in mistakes.

Mistakes are in colour, the stronger the larger their share of the row's answers; right answers
stand on the diagonal in grey. Concepts that were
never mixed up are left out, so that labels stay readable, and past `MAX_CONCEPTS` only those most
often mixed up are drawn: the table beside the plot has the commonest pairs in words.
"""

import math
from collections import Counter
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.capabilities.schema import Confusion
from benchmarks.report.bar_chart import add_title
from benchmarks.report.columns import Column
from benchmarks.report.style import GRID, INK, MUTED, PAPER, SMALL_PT, UNSAFE, Plot
from benchmarks.report.wording import MODES, clipped
from server.concepts.taxonomy import load_taxonomy

MAX_CONCEPTS = 26

_CELL_IN = 0.25
_CHAR_IN = 0.069
_LABEL_GAP_IN = 0.4
_HEAD_IN = 0.75
_RIGHT_IN = 0.75
_LABEL_CHARS = 28
_FEWEST_CELLS = 8


def confusion_plots(columns: Sequence[Column]) -> list[Plot]:
    """One plot a record and mode that has confusions."""
    plots = []
    for index, column in enumerate(columns):
        for mode, how in MODES.items():
            found = [one for one in column.record.figures.confusions if one.mode == mode]
            names = _mixed_up(found)
            if not names:
                continue
            number = f"-{index + 1}" if len(columns) > 1 else ""
            title = f"Concepts taken for others, {how}"
            mistakes = sum(one.count for one in found if one.shown != one.taken_for)
            alt = f"{title}, {column.label}: matrix of {len(names)} concepts, {mistakes} mistakes."
            plots.append(
                Plot(
                    f"confusion-{mode}{number}",
                    title,
                    alt,
                    _matrix(title, column.label, names, found),
                    is_wide=len(names) > _FEWEST_CELLS,
                )
            )
    return plots


def _mixed_up(found: Sequence[Confusion]) -> list[str]:
    """Concepts in mistakes, those most often in one if there are too many, category by category."""
    times: Counter[str] = Counter()
    for one in found:
        if one.shown != one.taken_for:
            times.update({one.shown: one.count, one.taken_for: one.count})
    kept = {name for name, _ in sorted(times.items(), key=lambda item: (-item[1], item[0]))}
    kept = set(sorted(kept, key=lambda name: (-times[name], name))[:MAX_CONCEPTS])
    known = [name for name in load_taxonomy().concept_names if name in kept]
    return [*known, *sorted(kept.difference(known))]


def _matrix(title: str, label: str, names: Sequence[str], found: Sequence[Confusion]) -> Figure:
    size = len(names)
    short = [clipped(name, _LABEL_CHARS) for name in names]
    longest_in = max(len(name) for name in short) * _CHAR_IN
    left_in = longest_in + _LABEL_GAP_IN
    # Labels below stand at 45 degrees.
    bottom_in = longest_in * math.sqrt(0.5) + _LABEL_GAP_IN
    side_in = max(size, _FEWEST_CELLS) * _CELL_IN
    width_in = left_in + side_in + _RIGHT_IN
    height_in = _HEAD_IN + side_in + bottom_in
    figure = Figure(figsize=(width_in, height_in))
    axes = figure.add_axes(
        (
            left_in / width_in,
            bottom_in / height_in,
            side_in / width_in,
            side_in / height_in,
        )
    )
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    place = {name: index for index, name in enumerate(names)}
    total: Counter[str] = Counter()
    for one in found:
        total[one.shown] += one.count
    for one in found:
        if one.shown in place and one.taken_for in place:
            x, y = place[one.taken_for], place[one.shown]
            share = one.count / total[one.shown]
            is_right = x == y
            colour, alpha = (GRID, 1.0) if is_right else (UNSAFE, 0.15 + 0.85 * share)
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, alpha=alpha, edgecolor="none"))
            axes.text(
                x + 0.5,
                y + 0.52,
                str(one.count),
                ha="center",
                va="center",
                size=6.5,
                color=PAPER if share > 0.55 and not is_right else INK,
            )
    ticks = [index + 0.5 for index in range(size)]
    axes.set_xticks(ticks, short, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, short)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xlabel("taken for", loc="right")
    axes.set_ylabel("shown", loc="top")
    for line in range(size + 1):
        axes.axhline(line, color=GRID, linewidth=0.6)
        axes.axvline(line, color=GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for index, name in enumerate(names):
        axes.text(
            size + 0.25,
            index + 0.5,
            f"n {total[name]}",
            va="center",
            size=SMALL_PT - 1,
            color=MUTED,
        )
    add_title(figure, title, label)
    return figure
