"""How long requests took, by how they ended and over time."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.load.log_axis import log_ms
from benchmarks.load.sending import ENDS, End
from benchmarks.replay.record import ReplayRecord
from benchmarks.replay.rows import Row
from benchmarks.report.bar_chart import add_title
from benchmarks.report.style import GRID, INK, MUTED, SERIES, WIDTH_IN, Plot
from benchmarks.report.wording import plural

END_COLOURS: dict[End, str] = {
    "ok": SERIES[0],
    "refused": SERIES[4],
    "error": SERIES[1],
    "cancelled": SERIES[3],
}
_WINDOWS = 30


def latency_by_end(record: ReplayRecord) -> Plot:
    """The share of requests that had ended, over time waited, a line an end."""
    latency, client = record.figures["latency"], record.figures["client"]
    title = "Latency by how requests ended"
    figure = Figure(figsize=(WIDTH_IN, 4.4))
    add_title(figure, title, "share of requests answered within; from when they were due")
    axes = figure.add_axes((0.125, 0.125, 0.84, 0.63))
    said = []
    for end in ENDS:
        values = np.sort([row.latency_ms for row in record.measurements if row.end == end])
        if values.size:
            found = latency["by_end"][end]["latency_ms"]
            label = f"{end} ({values.size:,}): p50 {found['p50']:.0f}, p99 {found['p99']:.0f} ms"
            said.append(label)
            heights = np.arange(1, values.size + 1) / values.size
            axes.step(
                np.append(values[0], values),
                np.append(0.0, heights),
                where="post",
                color=END_COLOURS[end],
                linewidth=1.6,
                label=label,
            )
    axes.axvline(
        latency["objective_ms"],
        color=INK,
        linewidth=0.9,
        linestyle=(0, (4, 3)),
        label=f"objective {latency['objective_ms']:g} ms",
    )
    if client is not None:
        axes.axvline(
            client["p50_ms"],
            color=MUTED,
            linewidth=0.9,
            linestyle=(0, (1, 2)),
            label=f"the client alone: p50 {client['p50_ms']:.1f} ms",
        )
    axes.set_ylim(0, 1)
    axes.set_xlabel("ms", loc="left")
    log_ms(axes.xaxis, axes.set_xscale)
    _finish(axes)
    axes.grid(visible=True, axis="x")
    figure.legend(
        loc="upper left",
        bbox_to_anchor=(0.025, 0.87),
        ncols=2,
        borderaxespad=0.0,
        handlelength=1.4,
        columnspacing=1.0,
    )
    return Plot("latency-by-end", title, "; ".join(said), figure)


def latency_over_time(record: ReplayRecord) -> Plot:
    """Every request at when it was due."""
    rows = record.measurements
    title = "Latency over time"
    figure = Figure(figsize=(WIDTH_IN, 4.4))
    add_title(
        figure, title, "a dot a request, at when it was due; the line: p95 of what was answered"
    )
    axes = figure.add_axes((0.125, 0.125, 0.84, 0.63))
    for end in ENDS:
        found = [row for row in rows if row.end == end]
        if found:
            axes.plot(
                [row.due_s for row in found],
                [row.latency_ms for row in found],
                "o",
                color=END_COLOURS[end],
                markersize=2.6,
                alpha=0.55,
                markeredgewidth=0,
                label=end,
            )
    _draw_p95(axes, [row for row in rows if row.end == "ok"])
    axes.set_xlabel("seconds since the first request was due", loc="left")
    axes.set_ylabel("ms")
    log_ms(axes.yaxis, axes.set_yscale)
    axes.set_xlim(left=0)
    _finish(axes)
    figure.legend(
        loc="upper left", bbox_to_anchor=(0.025, 0.87), ncols=4, borderaxespad=0.0, handlelength=1.0
    )
    ok = record.figures["latency"]["by_end"]["ok"]["latency_ms"]
    told = "none was answered" if ok is None else f"p95 {ok['p95']:.0f} ms over the whole run"
    return Plot(
        "latency-over-time", title, f"{plural(len(rows), 'request')} over time; {told}.", figure
    )


def _draw_p95(axes: Axes, rows: Sequence[Row]) -> None:
    """In windows of as many answers each."""
    size = max(20, len(rows) // _WINDOWS)
    windows = [rows[first : first + size] for first in range(0, len(rows) - size + 1, size)]
    if len(windows) > 1:
        axes.plot(
            [float(np.mean([row.due_s for row in window])) for window in windows],
            [float(np.percentile([row.latency_ms for row in window], 95)) for window in windows],
            color=INK,
            linewidth=1.4,
            label=f"p95 of {size} answers",
        )


def _finish(axes: Axes) -> None:
    axes.grid(visible=True, axis="y")
    axes.tick_params(length=0, which="both")
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
