"""Points in time as people write them."""

import re
from datetime import UTC, datetime

_AGO = re.compile(r"(\d+)\s*([smhdw])")
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def unix_ms(text: str, *, now_unix_ms: int) -> int:
    """``30m``, ``24h``, ``7d`` or ``2w`` ago, or a date or time (ISO 8601; UTC unless it says).

    Raises `ValueError`.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    if ago is not None:
        return now_unix_ms - int(ago[1]) * _MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no time: write 24h, 7d, 2026-01-31 or 2026-01-31T12:00"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
