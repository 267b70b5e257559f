"""A replay's figures on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.load.sending import ENDS
from benchmarks.tables import estimate, title_of

ACCURACY_LABELS = {
    "auc": "AUC of P(unsafe)",
    "auprc": "AUPRC",
    "balanced_accuracy": "balanced accuracy",
    "recall": "unsafe judged unsafe (recall)",
    "specificity": "safe judged safe",
    "fpr_at_95_recall": "safe called unsafe at 95% recall",
    "ece": "calibration error",
    "brier": "Brier score",
    "no_answer_rate": "no answer",
}


def replay_tables(record: Mapping[str, Any]) -> list[Table]:
    """Accuracy, accuracy by category, latency by how requests ended."""
    accuracy, latency = record["figures"]["accuracy"], record["figures"]["latency"]
    config = record["config"]
    said = Table(
        title=f"{title_of(record)}\n{config['loop']}; pixels: {config['pixels']}",
        title_justify="left",
        caption=remarks(record),
        caption_justify="left",
    )
    said.add_column("judgement")
    said.add_column(f"{accuracy['answers']} answers of {accuracy['requests']} requests")
    for name, label in ACCURACY_LABELS.items():
        said.add_row(label, estimate(accuracy[name]))
    return [said, _categories(accuracy), _latency(latency, record["figures"]["client"])]


def remarks(record: Mapping[str, Any]) -> str:
    """What a reader has to know before any figure is believed; empty without anything."""
    figures, found = record["figures"], []
    if record["config"]["contract"] == "openai":
        found.append(
            "This endpoint sends no `sightward` detail: P(unsafe) is the highest of its "
            "category_scores, the verdict its flag."
        )
    cached = figures["latency"]["from_cache"]
    if cached:
        wanted = "" if record["config"]["allow_cache"] else ", though every picture was new"
        found.append(f"{cached} answers came from what was judged before{wanted}.")
    unanswered = figures["accuracy"]["requests"] - figures["accuracy"]["answers"]
    if unanswered:
        found.append(f"{unanswered} requests without an answer have no part in the judgement.")
    return " ".join(found)


def _categories(accuracy: Mapping[str, Any]) -> Table:
    table = Table(title="unsafe pictures by category", title_justify="left")
    for column in ("category", "answers", "judged unsafe", "AUC against safe", "AUC of its score"):
        table.add_column(column)
    for name, found in accuracy["by_category"].items():
        keys = ("recall", "auc", "own_auc")
        table.add_row(name, str(found["answers"]), *(estimate(found[key]) for key in keys))
    return table


def _latency(latency: Mapping[str, Any], client: Mapping[str, Any] | None) -> Table:
    table = Table(
        title=(
            f"{latency['requests']} requests in {latency['seconds']:.1f} s: offered "
            f"{latency['offered_per_s']:.2f}/s, answered {latency['throughput_per_s']:.2f}/s, "
            f"within {latency['objective_ms']:g} ms {latency['goodput_per_s']:.2f}/s "
            f"({latency['goodput_share']:.1%})"
        ),
        title_justify="left",
    )
    for column in ("ms, from when due", "requests", "p50", "p90", "p95", "p99", "most"):
        table.add_column(column, justify="right" if column != "ms, from when due" else "left")
    for end in ENDS:
        found = latency["by_end"][end]
        shown = f"{found['count']} ({found['share']:.1%})"
        table.add_row(end, shown, *percentile_cells(found["latency_ms"]))
    table.add_section()
    ok = latency["by_end"]["ok"]
    if ok["service_ms"] != ok["latency_ms"]:
        table.add_row("ok, from when sent", "", *percentile_cells(ok["service_ms"]))
    if client is not None:
        cells = (f"{client['p50_ms']:.1f}", "", "", f"{client['p99_ms']:.1f}", "")
        table.add_row("the client alone (no-op)", str(client["requests"]), *cells)
        table.add_row("  of a core, a request", "", f"{client['cpu_ms_a_request']:.2f}")
    return table


def percentile_cells(found: Mapping[str, float] | None) -> tuple[str, ...]:
    """p50, p90, p95, p99 and the most, in ms."""
    names = ("p50", "p90", "p95", "p99", "maximum")
    return ("", "", "", "", "") if found is None else tuple(f"{found[one]:.1f}" for one in names)


def gate_line(expression: str, because: str, *, is_failed: bool) -> str:
    """One gate's outcome."""
    return f"{'FAILED' if is_failed else 'passed'}: --fail-if {expression!r} ({because})"
