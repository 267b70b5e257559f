"""A `robustness` record as a table on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.tables import estimate, number, title_of


def robustness_tables(record: Mapping[str, Any]) -> list[Table]:
    """One row a change, then all of them together."""
    figures, config = record["figures"], record["config"]
    table = Table(
        title=f"{title_of(record)}\nflips at P(unsafe) {config['threshold']:g}; "
        f"beyond: further than {config['margin']:g} from it before the change",
        title_justify="left",
    )
    for column in (
        "change",
        "flips",
        "flips beyond",
        "of",
        "mean |shift|",
        "shift",
        "rank correlation",
    ):
        table.add_column(column)
    for one in figures["changes"]:
        lost = f" ({one['lost']} lost)" if one["lost"] else ""
        table.add_row(
            f"{one['change']}{lost}",
            estimate(one["flips"]),
            estimate(one["flips_beyond_margin"]),
            str(one["beyond_margin"]),
            number(one["mean_abs_shift"]["value"]),
            _signed(one["mean_shift"]["value"]),
            number(one["rank_correlation"]["value"]),
            end_section=one["is_control"],
        )
    table.add_section()
    table.add_row(
        "mean of all changes",
        estimate(figures["flips"]),
        estimate(figures["flips_beyond_margin"]),
        "",
        number(figures["mean_abs_shift"]["value"]),
    )
    table.add_row(
        "flipped by any change",
        estimate(figures["flipped_by_any"]),
        estimate(figures["flipped_by_any_beyond_margin"]),
    )
    return [table]


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.3f}"
