"""Every setting in one table, drawn from `server.settings` itself."""

from typing import Any

from server.settings import PREFIX, Settings


def settings_table() -> str:
    """Name, default and meaning of every setting, a Markdown row each, in the code's order."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _default(field.default), _in_one_line(field.description))
        for name, field in Settings.model_fields.items()
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(("| variable | default | meaning |", "|---|---|---|", *lines)) + "\n"


def _default(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{value}`"


def _in_one_line(meaning: str | None) -> str:
    return " ".join((meaning or "").split()).replace("|", "\\|")
