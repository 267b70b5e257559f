"""A capacity record as a table and as a curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.tables import title_of


def capacity_tables(record: Mapping[str, Any]) -> list[Table]:
    """Every rate that was tried, from the lowest."""
    figures = record["figures"]
    client = figures["client"]
    table = Table(
        title=f"{title_of(record)}\n{capacity_line(record)}",
        title_justify="left",
        caption=(
            None
            if client is None
            else f"The client alone, at this rate on an endpoint that does nothing: p50 "
            f"{client['p50_ms']:.1f} ms, p99 {client['p99_ms']:.1f} ms, "
            f"{client['cpu_ms_a_request']:.2f} ms of a core a request."
        ),
        caption_justify="left",
    )
    for column in ("due/s", "ok/s", "in time/s", "p50", "p95", "p99 ms"):
        table.add_column(column, justify="right")
    for column in ("refused", "failed", ""):
        table.add_column(column, justify="right")
    for trial in sorted(record["measurements"], key=lambda one: one["rate_per_s"]):
        latency = trial["latency_ms"]
        table.add_row(
            f"{trial['rate_per_s']:.2f}",
            f"{trial['throughput_per_s']:.2f}",
            f"{trial['goodput_per_s']:.2f}",
            *("-" if latency is None else f"{latency[p]:.0f}" for p in ("p50", "p95", "p99")),
            f"{trial['refused_share']:.1%}",
            f"{trial['failed_share']:.1%}",
            "holds" if trial["holds"] else "fails",
        )
    return [table]


def capacity_line(record: Mapping[str, Any]) -> str:
    """The answer in one line."""
    figures, limits = record["figures"], record["config"]["limits"]
    within = (
        f"with p95 within {limits['p95_ms']:g} ms and at most {limits['unanswered_share']:.1%} "
        "not answered"
    )
    if figures["rate_per_s"] is None:
        return f"no rate that was tried holds {within}"
    above = (
        "no rate that was tried fails"
        if figures["fails_per_s"] is None
        else f"{figures['fails_per_s']:.2f}/s fails"
    )
    sure = "" if figures["is_confirmed"] else ", not confirmed"
    return f"capacity {figures['rate_per_s']:.2f}/s {within}{sure}; {above}"


def write_capacity_plot(record: Mapping[str, Any], path: Path) -> None:
    """Latency and what was answered, over the rate that was due."""
    from matplotlib.figure import Figure

    from benchmarks.load.log_axis import log_ms
    from benchmarks.report.bar_chart import add_title
    from benchmarks.report.style import GRID, INK, MUTED, SERIES, WIDTH_IN, drawing_style, png

    trials = sorted(record["measurements"], key=lambda one: one["rate_per_s"])
    limits, found = record["config"]["limits"], record["figures"]["rate_per_s"]
    with drawing_style():
        figure = Figure(figsize=(WIDTH_IN, 5.4))
        told = "none found" if found is None else f"{found:.1f} requests a second"
        add_title(figure, f"Capacity: {told}", "open loop, latencies from when requests were due")
        upper = figure.add_axes((0.125, 0.52, 0.84, 0.32))
        lower = figure.add_axes((0.125, 0.105, 0.84, 0.31))
        for name, colour in (("p50", SERIES[5]), ("p95", SERIES[0]), ("p99", SERIES[3])):
            known = [one for one in trials if one["latency_ms"] is not None]
            upper.plot(
                [one["rate_per_s"] for one in known],
                [one["latency_ms"][name] for one in known],
                "o-",
                color=colour,
                markersize=3.5,
                linewidth=1.3,
                label=name,
            )
        upper.axhline(limits["p95_ms"], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        log_ms(upper.yaxis, upper.set_yscale)
        upper.set_ylabel("ms (dashed: the objective)")
        upper.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
        due = [one["rate_per_s"] for one in trials]
        top = max(due, default=1.0)
        lower.plot([0, top], [0, top], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        for name, colour, label in (
            ("throughput_per_s", SERIES[2], "answered"),
            ("goodput_per_s", SERIES[1], "in time"),
        ):
            lower.plot(
                due,
                [one[name] for one in trials],
                "o-",
                color=colour,
                markersize=3.5,
                linewidth=1.3,
                label=label,
            )
        lower.set_ylabel("a second")
        lower.set_xlabel("requests due a second", loc="left")
        lower.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        for axes in (upper, lower):
            axes.set_xlim(0, top * 1.03)
            axes.grid(visible=True, axis="y")
            axes.tick_params(length=0, which="both")
            axes.spines["left"].set_visible(False)
            axes.spines["bottom"].set_color(GRID)
            if found is not None:
                axes.axvline(found, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        path.write_bytes(png(figure))
