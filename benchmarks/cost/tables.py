"""What bounds each load, as a table on a terminal and in Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.cost.points import TITLES
from benchmarks.tables import title_of

_COLUMNS = (
    "varied",
    "",
    "items a second",
    "p50 / p95 of a call, ms",
    "queue / decode / engine / whole call, ms",
    "CPU ms an item: server / engine / client",
    "busy",
    "bound by",
)


def cost_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The table's cells."""
    rows, last = [], None
    for one in record["figures"]["points"]:
        speed = one["items_per_s"]
        rows.append(
            [
                TITLES[one["sweep"]] if one["sweep"] != last else "",
                str(one["value"]),
                f"{speed['median']:.3g} ({speed['low']:.3g}-{speed['high']:.3g})",
                f"{one['p50_ms']['median']:.0f} / {one['p95_ms']['median']:.0f}",
                " / ".join(_ms(one["stage_ms"][stage]) for stage in one["stage_ms"]),
                " / ".join(_ms(one["cpu_ms"][name]) for name in ("server", "engine", "client")),
                f"{one['busy']['median']:.0%}",
                one["bound_by"],
            ]
        )
        last = one["sweep"]
    return rows


def cost_tables(record: Mapping[str, Any]) -> list[Table]:
    """One table, a row a point."""
    table = Table(title=title_of(record), title_justify="left")
    for column in _COLUMNS:
        table.add_column(column)
    for row in cost_rows(record):
        if row[0]:
            table.add_section()
        table.add_row(*row)
    return [table]


def cost_markdown(record: Mapping[str, Any]) -> str:
    """The same."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    lines += [f"| {' | '.join(row)} |" for row in cost_rows(record)]
    return "\n".join(lines) + "\n"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
