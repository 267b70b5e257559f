"""The fault matrix as a table on a terminal, and as one for a README."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_STYLES = {"held": "green", "missed": "bold red", "not run": "yellow"}
_COLUMNS = ("fault", "must hold", "goal", "measured", "verdict")


def faults_tables(record: Mapping[str, Any]) -> list[Table]:
    """One table, a row a goal."""
    table = Table(
        title=f"{record['benchmark']}: {record['model_version']}",
        title_justify="left",
        caption_justify="left",
    )
    for column in _COLUMNS:
        table.add_column(column)
    for report in record["figures"].values():
        table.add_section()
        name = _name(report)
        verdict = report["verdict"]
        if report["not_run"] is not None:
            table.add_row(name, report["not_run"], "", "", _coloured(verdict))
            continue
        for number, goal in enumerate(report["goals"]):
            table.add_row(
                name if number == 0 else "",
                goal["name"],
                goal["wanted"],
                measured(goal),
                _coloured("held" if goal["is_held"] else "missed"),
            )
        if report["note"]:
            table.add_row("", f"[dim]{report['note']}[/dim]", "", "", "")
    return [table]


def faults_markdown(record: Mapping[str, Any]) -> str:
    """The same in Markdown, a row a fault."""
    lines = ["| fault | what held, what did not | verdict |", "|---|---|---|"]
    for report in record["figures"].values():
        found = report["not_run"] or "; ".join(
            f"{goal['name']} {measured(goal)} ({goal['wanted']})"
            + ("" if goal["is_held"] else " **missed**")
            for goal in report["goals"]
        )
        if report["note"]:
            found += f". {report['note'][:1].upper()}{report['note'][1:]}"
        lines.append(f"| {_name(report)} | {found} | {report['verdict']} |")
    return "\n".join(lines) + "\n"


def measured(goal: Mapping[str, Any]) -> str:
    """A goal's figure; "unknown" where there is none."""
    got = goal["got"]
    if got is None:
        return "unknown"
    if goal["wanted"] == "yes":
        return "yes" if got else "no"
    shown = f"{got:.0f}" if float(got).is_integer() else f"{got:.3g}"
    return f"{shown} {goal['unit']}".strip()


def _name(report: Mapping[str, Any]) -> str:
    engine = "" if report["engine"] == "real" else f" ({report['engine']} engine)"
    return f"{report['title']}{engine}"


def _coloured(verdict: str) -> str:
    return f"[{_STYLES[verdict]}]{verdict}[/]"
