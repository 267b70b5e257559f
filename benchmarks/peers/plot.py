"""The race as a picture: images a second, with the lowest and the highest round."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.report.style import INK, MUTED, SERIES, SMALL_PT, TITLE_PT, drawing_style, png

_WIDTH_IN = 6.4
_ROW_IN = 0.27
_OURS, _THEIRS = SERIES[0], SERIES[6]


def write_peers_plot(record: Mapping[str, Any], out: Path) -> None:
    """Draw a `peers` record into a PNG file."""
    with drawing_style():
        drawn = png(draw(record))
    out.write_bytes(drawn)


def draw(record: Mapping[str, Any]) -> Figure:
    """A line a contender that judges pictures, on a logarithmic axis."""
    shown = [
        one
        for one in record["figures"]["contenders"].values()
        if one.get("images_per_s") is not None and one["does_judge"]
    ]
    figure = Figure(figsize=(_WIDTH_IN, 1.1 + _ROW_IN * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(shown):
        speed = one["images_per_s"]
        colour = _OURS if one["title"].startswith("ours") else _THEIRS
        median = speed["median"]
        reach = [[median - speed["low"]], [speed["high"] - median]]
        axes.errorbar([median], [row], xerr=reach, fmt="o", markersize=4.5, color=colour)
        axes.annotate(
            f"{median:.3g}",
            (speed["high"], row),
            (5, 0),
            textcoords="offset points",
            va="center",
            size=SMALL_PT,
            color=INK,
        )
    axes.set_yticks(range(len(shown)), [one["title"] for one in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=SMALL_PT)
    axes.set_xlabel("images a second: median, lowest and highest round", size=SMALL_PT, color=MUTED)
    figure.suptitle("Ours beside its peers", x=0.01, ha="left", size=TITLE_PT, weight="bold")
    return figure
