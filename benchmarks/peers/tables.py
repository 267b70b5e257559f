"""The race as tables on a terminal, and in Markdown for a README."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.faults.tables import measured
from benchmarks.tables import title_of

_COLUMNS = (
    "contender",
    "images a second",
    "ours is faster by",
    "p50 / p95 of one alone, ms",
    "p50 / p95 under load, ms",
    "CPU ms an image",
    "memory, MiB",
    "start, s",
    "note",
)


def peers_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The main table's cells."""
    found = record["figures"]["contenders"]
    ours = (found.get("ours") or {}).get("images_per_s")
    return [_row(name, one, ours) for name, one in found.items()]


def peers_tables(record: Mapping[str, Any]) -> list[Table]:
    """Contenders, then goals."""
    table = Table(title=title_of(record), title_justify="left")
    for column in _COLUMNS:
        table.add_column(column)
    for row in peers_rows(record):
        table.add_row(*row)
    goals = Table(title="goals", title_justify="left")
    for column in ("goal", "wanted", "measured", "verdict"):
        goals.add_column(column)
    for goal in record["figures"]["goals"]:
        style = "green" if goal["is_held"] else "bold red"
        goals.add_row(
            goal["name"], goal["wanted"], measured(goal), f"[{style}]{_verdict(goal)}[/{style}]"
        )
    return [table, goals]


def peers_markdown(record: Mapping[str, Any]) -> str:
    """The same two tables."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    lines += [f"| {' | '.join(row)} |" for row in peers_rows(record)]
    lines += ["", "| goal | wanted | measured | verdict |", "|---|---|---|---|"]
    for goal in record["figures"]["goals"]:
        row = (goal["name"], goal["wanted"], measured(goal), _verdict(goal))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _row(name: str, one: Mapping[str, Any], ours: Mapping[str, float] | None) -> list[str]:
    speed = one.get("images_per_s")
    if speed is None:
        return [one["title"], *[""] * 7, one["missing"] or "did not run"]
    times = "" if ours is None or name == "ours" else f"x {ours['median'] / speed['median']:.3g}"
    return [
        one["title"],
        f"{speed['median']:.3g} ({speed['low']:.3g}-{speed['high']:.3g})",
        times,
        f"{one['p50_ms']['median']:.3g} / {one['p95_ms']['median']:.3g}",
        _pair(one["loaded_p50_ms"], one["loaded_p95_ms"]),
        f"{one['cpu_ms']['median']:.3g}",
        f"{one['memory_mib']:.0f}",
        f"{one['start_s']:.1f}",
        one["note"],
    ]


def _pair(p50: Mapping[str, float] | None, p95: Mapping[str, float] | None) -> str:
    if p50 is None or p95 is None:
        return ""
    return f"{p50['median']:.3g} / {p95['median']:.3g}"


def _verdict(goal: Mapping[str, Any]) -> str:
    return "held" if goal["is_held"] else "missed"
