"""The tables of a replay's page."""

from collections.abc import Mapping
from typing import Any

from benchmarks.load.sending import ENDS
from benchmarks.replay.record import ReplayRecord
from benchmarks.replay.tables import ACCURACY_LABELS, percentile_cells
from benchmarks.report.table import Cell, Table, count_cell, estimate_cell
from benchmarks.report.wording import count, number
from benchmarks.stats import Estimate

_MS = ("p50", "p90", "p95", "p99", "most")


def accuracy_table(accuracy: Mapping[str, Any]) -> Table:
    """The overall figures of judgement."""
    return Table(
        "Judgement",
        ("figure", "value"),
        tuple(
            (Cell(label), estimate_cell(Estimate(**accuracy[name])))
            for name, label in ACCURACY_LABELS.items()
        ),
        note=f"{count(accuracy['answers'])} answers of {count(accuracy['requests'])} requests, "
        f"{count(accuracy['unsafe_answers'])} about unsafe pictures",
    )


def speed_table(record: ReplayRecord) -> Table:
    """Rates and latencies, beside what the client takes."""
    latency, client = record.figures["latency"], record.figures["client"]
    ok = latency["by_end"]["ok"]["latency_ms"]
    alone = [] if client is None else [client["p50_ms"], client["p99_ms"]]
    rows = [
        ("requests a second", f"{latency['offered_per_s']:.2f}", ""),
        ("answers a second", f"{latency['throughput_per_s']:.2f}", ""),
        (
            f"answers a second within {latency['objective_ms']:g} ms (goodput)",
            f"{latency['goodput_per_s']:.2f}",
            "",
        ),
        ("requests answered within it", f"{latency['goodput_share']:.1%}", ""),
        (
            "latency p50, ms",
            "none" if ok is None else f"{ok['p50']:.1f}",
            f"{alone[0]:.1f}" if alone else "",
        ),
        ("latency p95, ms", "none" if ok is None else f"{ok['p95']:.1f}", ""),
        (
            "latency p99, ms",
            "none" if ok is None else f"{ok['p99']:.1f}",
            f"{alone[1]:.1f}" if alone else "",
        ),
        (
            "ms of a core a request",
            "",
            "" if client is None else f"{client['cpu_ms_a_request']:.2f}",
        ),
    ]
    return Table(
        "Speed",
        ("figure", "value", "the client alone"),
        tuple(tuple(Cell(text) for text in row) for row in rows),
        note=f"{count(latency['requests'])} requests in {latency['seconds']:.1f} s",
    )


def latency_table(
    latency: Mapping[str, Any], client: Mapping[str, Any] | None, *, is_open: bool
) -> Table:
    """Percentiles by how requests ended, of an open loop from when sent too."""
    rows = []
    for end in ENDS:
        found = latency["by_end"][end]
        if found["count"]:
            sent = [(f"{end}, from when sent", found["service_ms"])] if is_open else []
            for name, values in [(f"{end}, from when due", found["latency_ms"]), *sent]:
                cells = [Cell(text) for text in percentile_cells(values)]
                rows.append((Cell(name), count_cell(found["count"]), *cells))
    if client is not None:
        alone = (f"{client['p50_ms']:.1f}", "", "", f"{client['p99_ms']:.1f}", "")
        rows.append(
            (
                Cell("the client alone, on a no-op"),
                count_cell(client["requests"]),
                *(Cell(text) for text in alone),
            )
        )
    if is_open and latency["lag_ms"] is not None:
        lag = [Cell(text) for text in percentile_cells(latency["lag_ms"])]
        rows.append((Cell("sent late by"), count_cell(latency["requests"]), *lag))
    return Table("Milliseconds", ("requests", "count", *_MS), tuple(rows))


def category_table(accuracy: Mapping[str, Any]) -> Table:
    """A line a category."""
    return Table(
        "Unsafe pictures by category",
        ("category", "answers", "judged unsafe", "AUC against safe", "AUC of its own score"),
        tuple(
            (
                Cell(name),
                count_cell(found["answers"]),
                *(estimate_cell(Estimate(**found[key])) for key in ("recall", "auc", "own_auc")),
            )
            for name, found in accuracy["by_category"].items()
        ),
    )


def concept_table(accuracy: Mapping[str, Any]) -> Table:
    """A line a concept."""
    return Table(
        "Unsafe pictures by concept",
        ("concept", "category", "answers", "judged unsafe", "mean P(unsafe)", "recognised"),
        tuple(
            (
                Cell(name),
                Cell(found["category"]),
                count_cell(found["answers"]),
                *(
                    Cell(number(found[key]), sort=found[key])
                    for key in ("judged_unsafe", "mean_p_unsafe", "recognised")
                ),
            )
            for name, found in accuracy["by_concept"].items()
        ),
        names=frozenset({"category"}),
    )


def code_table(latency: Mapping[str, Any]) -> Table:
    """What was said to those who got no answer."""
    ordered = sorted(latency["codes"].items(), key=lambda one: -one[1])
    return Table(
        "Why requests were not answered",
        ("code", "requests"),
        tuple((Cell(code), count_cell(found)) for code, found in ordered),
    )


def words_table(words: Mapping[str, Any]) -> Table:
    """What `served` measures too."""
    labels = {
        "auc": "AUC of P(unsafe)",
        "alignment": "unsafe judged unsafe",
        "specificity": "safe judged safe",
        "balanced_accuracy": "balanced accuracy",
        "ece": "calibration error",
    }
    gaps = {"auc": "auc_gap", "alignment": "alignment_gap"}
    return Table(
        "Words against pictures",
        ("figure", "pictures", "words", "gap"),
        tuple(
            (
                Cell(label),
                estimate_cell(Estimate(**words["images"][name])),
                estimate_cell(Estimate(**words["texts"][name])),
                estimate_cell(Estimate(**words[gaps[name]]), with_sign=True)
                if name in gaps
                else Cell(""),
            )
            for name, label in labels.items()
        ),
    )
