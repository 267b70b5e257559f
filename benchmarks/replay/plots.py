"""A replay's plots: what P(unsafe) is worth, and how long answers took."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.replay.accuracy import RECALL, ReliabilityBin, answers_of
from benchmarks.replay.latency_plots import latency_by_end, latency_over_time
from benchmarks.replay.record import ReplayRecord
from benchmarks.replay.rows import Row
from benchmarks.report.bar_chart import Bar, BarRow, add_title, bar_chart
from benchmarks.report.probability_plots import distribution_figure, reliability_figure
from benchmarks.report.style import (
    GRID,
    INK,
    MUTED,
    SERIES,
    SMALL_PT,
    WIDTH_IN,
    Plot,
    drawing_style,
)
from benchmarks.report.wording import number, plural


def draw_plots(record: ReplayRecord) -> dict[str, list[Plot]]:
    """The plots of each section, by its id; none where there is nothing to draw."""
    answered = [row for row in record.measurements if row.p_unsafe is not None]
    labels = {row.unsafe for row in answered}
    with drawing_style():
        judged = [_roc(record, answered), _precision(record, answered)] if len(labels) == 2 else []
        scored = [_reliability(record), _distribution(answered)] if answered else []
        return {
            "judgement": judged,
            "probabilities": scored,
            "categories": _categories(record),
            "latency": [latency_by_end(record), latency_over_time(record)],
        }


def _roc(record: ReplayRecord, rows: Sequence[Row]) -> Plot:
    accuracy = record.figures["accuracy"]
    unsafe, called = _sorted_labels(rows)
    recall = np.append(0.0, np.cumsum(unsafe)[called] / unsafe.sum())
    false = np.append(0.0, np.cumsum(~unsafe)[called] / (~unsafe).sum())
    auc, fpr = accuracy["auc"]["value"], accuracy["fpr_at_95_recall"]["value"]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(false, recall, color=SERIES[0], linewidth=1.6)
        axes.plot([fpr], [RECALL], "o", color=SERIES[1], markersize=6)
        axes.text(
            0.98,
            0.03,
            f"dot: {number(fpr)} of safe ones called unsafe at {RECALL:.0%} recall",
            ha="right",
            size=SMALL_PT,
            color=INK,
        )
        axes.set_xlabel("share of safe pictures called unsafe", loc="left")
        axes.set_ylabel("share of unsafe pictures found (recall)")

    return _square(
        "roc",
        "Unsafe pictures found against false alarms",
        f"AUC {number(auc)}; dashed: by chance",
        f"ROC curve with an area of {number(auc)}; at {RECALL:.0%} recall {number(fpr)} of safe "
        "pictures are called unsafe.",
        draw,
    )


def _precision(record: ReplayRecord, rows: Sequence[Row]) -> Plot:
    auprc = record.figures["accuracy"]["auprc"]["value"]
    unsafe, called = _sorted_labels(rows)
    found = np.cumsum(unsafe)[called]
    share = float(unsafe.mean())

    recall, precision = found / unsafe.sum(), found / (called + 1)

    def draw(axes: Axes) -> None:
        axes.axhline(share, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.step(
            np.append(0.0, recall),
            np.append(precision[0], precision),
            color=SERIES[0],
            linewidth=1.6,
            where="pre",
        )
        axes.set_xlabel("share of unsafe pictures found (recall)", loc="left")
        axes.set_ylabel("share of those called unsafe that are")

    return _square(
        "precision-recall",
        "Precision against recall",
        f"AUPRC {number(auprc)}; dashed: calling everything unsafe ({number(share)})",
        f"Precision over recall, area {number(auprc)}; {number(share)} of pictures are unsafe.",
        draw,
    )


def _reliability(record: ReplayRecord) -> Plot:
    accuracy = record.figures["accuracy"]
    bins = [ReliabilityBin(**one) for one in accuracy["reliability"]]
    ece = accuracy["ece"]["value"]
    title = "P(unsafe) against what is unsafe"
    alt = "Reliability diagram: " + "; ".join(
        f"P(unsafe) {number(one.mean_p_unsafe)}: {number(one.share_unsafe)} unsafe of {one.count}"
        for one in bins
    )
    return Plot(
        "reliability", title, alt, reliability_figure(title, "as served, ten bins", bins, ece)
    )


def _distribution(rows: Sequence[Row]) -> Plot:
    answers = answers_of(rows)
    unsafe = answers.p_unsafe[answers.is_unsafe]
    safe = answers.p_unsafe[~answers.is_unsafe]
    title = "P(unsafe) by label"
    alt = (
        f"Histograms of P(unsafe) of {plural(unsafe.size, 'answer')} about unsafe pictures and "
        f"{plural(safe.size, 'answer')} about safe ones."
    )
    return Plot("p-unsafe", title, alt, distribution_figure(title, "every answer", unsafe, safe))


def _categories(record: ReplayRecord) -> list[Plot]:
    by_category = record.figures["accuracy"]["by_category"]
    if not by_category:
        return []
    rows = [
        BarRow(
            name,
            plural(found["answers"], "answer"),
            (Bar(**found["recall"], colour=SERIES[0]),),
        )
        for name, found in by_category.items()
    ]
    title = "Unsafe pictures judged unsafe, by category"
    alt = "; ".join(f"{name} {number(one['recall']['value'])}" for name, one in by_category.items())
    return [Plot("categories", title, alt, bar_chart(title, "with 95% intervals", rows))]


def _sorted_labels(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Labels from the highest P(unsafe) down, and the last index of each run of equal scores."""
    answers = answers_of(rows)
    order = np.argsort(-answers.p_unsafe, kind="stable")
    scores = answers.p_unsafe[order]
    return answers.is_unsafe[order], np.flatnonzero(np.append(np.diff(scores) != 0, True))


def _square(name: str, title: str, subtitle: str, alt: str, draw: Callable[[Axes], None]) -> Plot:
    figure = Figure(figsize=(WIDTH_IN, 4.6))
    add_title(figure, title, subtitle)
    axes = figure.add_axes((0.125, 0.115, 0.84, 0.74))
    draw(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    _finish(axes)
    axes.grid(visible=True, axis="both")
    return Plot(name, title, alt, figure)


def _finish(axes: Axes) -> None:
    axes.grid(visible=True, axis="y")
    axes.tick_params(length=0, which="both")
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
