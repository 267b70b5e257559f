"""What bounds each load, as tables on a terminal and one in Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.cost.points import SWEEPS, TITLES
from benchmarks.tables import spread_of, three_digits, title_of

_STAGES = ("decode", "engine", "total")
_PROCESSES = ("server", "engine", "client")
_COLUMNS = (
    "items a second",
    "p50 / p95 of a call, ms",
    "decode / engine / whole call, ms",
    "CPU ms an item: server / engine / client",
    "cores busy",
    "bound by",
)


def cost_rows(record: Mapping[str, Any], sweep: str) -> list[list[str]]:
    """A sweep's cells: what was varied, then the columns."""
    return [
        [
            str(one["value"]),
            spread_of(one["items_per_s"]),
            f"{one['p50_ms']['median']:.0f} / {one['p95_ms']['median']:.0f}",
            " / ".join(_ms(one["stage_ms"][stage]) for stage in _STAGES),
            " / ".join(_ms(one["cpu_ms"][name]) for name in _PROCESSES),
            f"{one['busy']['median']:.0%}",
            one["bound_by"],
        ]
        for one in record["figures"]["points"]
        if one["sweep"] == sweep
    ]


def cost_tables(record: Mapping[str, Any]) -> list[Table]:
    """A table a sweep, each as wide as a terminal."""
    tables: list[Table] = []
    for sweep in _sweeps(record):
        title = title_of(record) if not tables else None
        table = Table(title=title, title_justify="left")
        for column in (TITLES[sweep], *_COLUMNS):
            table.add_column(column)
        for row in cost_rows(record, sweep):
            table.add_row(*row)
        tables.append(table)
    return tables


def cost_markdown(record: Mapping[str, Any]) -> str:
    """All of it in one table."""
    columns = ("varied", "", *_COLUMNS)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for sweep in _sweeps(record):
        for number, row in enumerate(cost_rows(record, sweep)):
            varied = TITLES[sweep] if number == 0 else ""
            lines.append(f"| {varied} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _sweeps(record: Mapping[str, Any]) -> list[Any]:
    return [one for one in SWEEPS if any(p["sweep"] == one for p in record["figures"]["points"])]


def _ms(value: float | None) -> str:
    return "-" if value is None else three_digits(value)
