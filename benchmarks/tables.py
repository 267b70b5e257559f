"""Figures as tables on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def served_tables(record: Mapping[str, Any]) -> list[Table]:
    """The tables of a `served` record."""
    figures = record["figures"]
    judged = Table(title=title_of(record), title_justify="left")
    for column in ("judgement", "images", "texts", "gap (texts - images)"):
        judged.add_column(column)
    images, texts = figures["images"], figures["texts"]
    judged.add_row(
        "AUC of P(unsafe)",
        estimate(images["auc"]),
        estimate(texts["auc"]),
        estimate(figures["auc_gap"], signed=True),
    )
    judged.add_row(
        "alignment: unsafe judged unsafe",
        estimate(images["alignment"]),
        estimate(texts["alignment"]),
        estimate(figures["alignment_gap"], signed=True),
    )
    for label, key in (
        ("safe judged safe", "specificity"),
        ("balanced accuracy", "balanced_accuracy"),
        ("calibration error", "ece"),
        ("no answer", "no_answer_rate"),
    ):
        judged.add_row(label, estimate(images[key]), estimate(texts[key]), "")
    judged.add_row("refused requests", str(images["failed"]), str(texts["failed"]), "")
    judged.add_row(
        "latency p50 / p95, ms",
        latency(figures["image_latency_ms"]),
        latency(figures["text_latency_ms"]),
        "",
    )
    styles = Table(title="images by style", title_justify="left")
    for column in ("style", "AUC of P(unsafe)", "balanced accuracy", "calibration error"):
        styles.add_column(column)
    for style, found in figures["images_by_style"].items():
        keys = ("auc", "balanced_accuracy", "ece")
        styles.add_row(style, *(estimate(found[key]) for key in keys))
    seen = figures["recognition"]
    recognised = Table(
        title=f"recognition in {seen['examples']} images that do more than hint",
        title_justify="left",
    )
    for column in ("class", "examples", "top-1"):
        recognised.add_column(column)
    for name, count in seen["category_examples"].items():
        recall = seen["category_recalls"].get(name)
        recognised.add_row(name, str(count), number(recall))
    recognised.add_section()
    recognised.add_row(
        "category, balanced", str(seen["examples"]), estimate(seen["category_balanced"])
    )
    recognised.add_row("concept", str(seen["unsafe"]), estimate(seen["concept_top1"]))
    recognised.add_row("concept, balanced", str(seen["unsafe"]), estimate(seen["concept_balanced"]))
    return [judged, styles, recognised]


def show(tables: list[Table], console: Console) -> None:
    """Print the tables one below the other."""
    for table in tables:
        console.print(table)


def number(value: float | None) -> str:
    """Three digits; "unknown" for what could not be computed."""
    return "unknown" if value is None else f"{value:.3f}"


def three_digits(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread_of(found: Mapping[str, float]) -> str:
    """A median with the lowest and the highest round."""
    low, high = three_digits(found["low"]), three_digits(found["high"])
    return f"{three_digits(found['median'])} ({low}-{high})"


def estimate(found: Mapping[str, float | None], *, signed: bool = False) -> str:
    """A value with its 95% interval."""
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "unknown"
    shown = f"{value:+.3f}" if signed else f"{value:.3f}"
    return shown if low is None or high is None else f"{shown} ({low:.3f} to {high:.3f})"


def spread(found: Mapping[str, float]) -> str:
    """A median with its range."""
    return f"{found['median']:.2f} ({found['low']:.2f} - {found['high']:.2f})"


def latency(found: Mapping[str, float] | None) -> str:
    """p50 and p95, or "unknown" without a measurement."""
    return "unknown" if found is None else f"{found['p50']:.0f} / {found['p95']:.0f}"


def title_of(record: Mapping[str, Any]) -> str:
    """What was measured: the benchmark, the data and the model."""
    data = record["data"]
    return (
        f"{record['benchmark']}: {data['name']} ({data['split']}, {data['examples']} examples), "
        f"{record['model_version']}"
    )


def cache_tables(record: Mapping[str, Any]) -> list[Table]:
    """The table of a `cache` record."""
    figures, config = record["figures"], record["config"]
    table = Table(
        title=f"cache: {config['clients']} clients, {record['model_version']}", title_justify="left"
    )
    for column in ("median (lowest - highest round)", "requests/s", "p50, ms", "p99, ms"):
        table.add_column(column)
    labels = {
        "nothing known": "an endpoint that does nothing",
        "memory known": "one picture again and again, cache in memory",
        "redis known": "the same, cache in Redis",
        "memory fresh": "pictures never seen, cache in memory",
        "redis fresh": "the same, cache in Redis",
    }
    for key, label in labels.items():
        if key in figures:
            found = figures[key]
            table.add_row(
                label, *(spread(found[name]) for name in ("requests_per_s", "p50_ms", "p99_ms"))
            )
    return [table]
