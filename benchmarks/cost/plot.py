"""How throughput and latency go with each thing that is varied: two panels a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cost.points import SWEEPS, TITLES
from benchmarks.report.style import MUTED, SERIES, SMALL_PT, TITLE_PT, drawing_style, png

_PANEL_IN = (3.0, 2.4)


def write_cost_plot(record: Mapping[str, Any], out: Path) -> None:
    """Draw a `cost` record into a PNG file."""
    with drawing_style():
        drawn = png(draw(record))
    out.write_bytes(drawn)


def draw(record: Mapping[str, Any]) -> Figure:
    """The figure of a `cost` record: a column a sweep, throughput above latency."""
    points = record["figures"]["points"]
    sweeps = [name for name in SWEEPS if any(one["sweep"] == name for one in points)]
    figure = Figure(figsize=(_PANEL_IN[0] * len(sweeps), 2 * _PANEL_IN[1]), layout="constrained")
    figure.suptitle("How cost grows", x=0.01, ha="left", size=TITLE_PT, weight="bold")
    panels = figure.subplots(2, len(sweeps), squeeze=False)
    for column, name in enumerate(sweeps):
        mine = [one for one in points if one["sweep"] == name]
        _panel(panels[0, column], mine, ("items_per_s",))
        _panel(panels[1, column], mine, ("p50_ms", "p95_ms"))
        panels[1, column].set_xlabel(TITLES[name], size=SMALL_PT, color=MUTED)
    panels[1, 0].legend(loc="lower right", frameon=False, fontsize=SMALL_PT)
    panels[0, 0].set_ylabel("pictures (texts) a second", size=SMALL_PT, color=MUTED)
    panels[1, 0].set_ylabel("latency of a call, ms", size=SMALL_PT, color=MUTED)
    return figure


def _panel(axes: Axes, points: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    values = [one["value"] for one in points]
    for key, colour in zip(keys, SERIES, strict=False):
        medians = [one[key]["median"] for one in points]
        reach = [
            [one[key]["median"] - one[key]["low"] for one in points],
            [one[key]["high"] - one[key]["median"] for one in points],
        ]
        label = key.partition("_")[0]
        axes.errorbar(
            values, medians, yerr=reach, marker="o", markersize=3, color=colour, label=label
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [str(value) for value in values])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=SMALL_PT)
