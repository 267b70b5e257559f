"""The race as tables on a terminal, and in Markdown for a README."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.faults.tables import measured
from benchmarks.tables import spread_of, three_digits, title_of

_SPEED = (
    "images a second",
    "ours is faster by",
    "p50 / p95 of one alone, ms",
    "p50 / p95 under load, ms",
)
_COST = ("CPU ms an image", "memory, MiB", "start, s", "note")
_GOAL = ("goal", "wanted", "measured", "verdict")


def peers_rows(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """The cells behind each contender's name: speed, then what it costs."""
    return {name: _row(one) for name, one in record["figures"]["contenders"].items()}


def peers_tables(record: Mapping[str, Any]) -> list[Table]:
    """Speed, cost and goals, each as wide as a terminal."""
    rows = peers_rows(record)
    titles = {name: one["title"] for name, one in record["figures"]["contenders"].items()}
    speed = _table(title_of(record), ("contender", *_SPEED))
    cost = _table("what it costs", ("contender", *_COST[:-1], "what it is"))
    for name, cells in rows.items():
        speed.add_row(name, *cells[: len(_SPEED)])
        note = f"{titles[name]}; {cells[-1]}" if cells[-1] else titles[name]
        cost.add_row(name, *cells[len(_SPEED) : -1], note)
    goals = _table("goals", _GOAL)
    for goal in record["figures"]["goals"]:
        style = "green" if goal["is_held"] else "bold red"
        goals.add_row(
            goal["name"], goal["wanted"], measured(goal), f"[{style}]{_verdict(goal)}[/{style}]"
        )
    return [speed, cost, goals]


def peers_markdown(record: Mapping[str, Any]) -> str:
    """All of it in two tables."""
    columns = ("contender", *_SPEED, *_COST)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    titles = {name: one["title"] for name, one in record["figures"]["contenders"].items()}
    for name, cells in peers_rows(record).items():
        lines.append(f"| `{name}`: {titles[name]} | {' | '.join(cells)} |")
    lines += ["", f"| {' | '.join(_GOAL)} |", "|" + "---|" * len(_GOAL)]
    for goal in record["figures"]["goals"]:
        row = (goal["name"], goal["wanted"], measured(goal), _verdict(goal))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(one: Mapping[str, Any]) -> list[str]:
    speed = one.get("images_per_s")
    if speed is None:
        return [*[""] * 7, one["missing"] or "did not run"]
    times = one["ours_times"]
    is_itself = times == 1.0
    return [
        spread_of(speed),
        "" if times is None or is_itself else f"x {three_digits(times)}",
        _pair(one["p50_ms"], one["p95_ms"]),
        _pair(one["loaded_p50_ms"], one["loaded_p95_ms"]),
        three_digits(one["cpu_ms"]["median"]),
        f"{one['memory_mib']:,.0f}",
        f"{one['start_s']:.1f}",
        one["note"],
    ]


def _pair(p50: Mapping[str, float] | None, p95: Mapping[str, float] | None) -> str:
    if p50 is None or p95 is None:
        return ""
    return f"{three_digits(p50['median'])} / {three_digits(p95['median'])}"


def _verdict(goal: Mapping[str, Any]) -> str:
    return "held" if goal["is_held"] else "missed"
