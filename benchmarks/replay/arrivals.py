"""When requests are due: as fast as answers come, at random, or as they once came.

Recorded times are read from a file with one a line: seconds, an ISO date and time, or a JSON object
with one of them as its `time`, `at`, `ts`, `timestamp` or `created` (logs) or milliseconds as its
`time_unix_ms` (the audit log); or from a record of an earlier replay. The first begins the run.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.errors import MeasurementError

_UNIX_MS = "time_unix_ms"
_TIME_FIELDS = ("time", "at", "ts", "timestamp", "created")


def read_arrivals_s(path: Path, *, speed: float = 1.0) -> tuple[float, ...]:
    """Seconds from the first arrival, sorted; `speed` 2 has them come twice as fast.

    Raises `MeasurementError` for a file without times.
    """
    if not speed > 0:
        raise MeasurementError(f"a speed of {speed:g} gets nowhere")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path} can't be read: {error}") from error
    times = sorted(_of_record(text) or _of_lines(path, text.splitlines()))
    if not times:
        raise MeasurementError(f"{path} holds no times")
    return tuple((one - times[0]) / speed for one in times)


def _of_record(text: str) -> list[float]:
    try:
        record = json.loads(text)
        return [float(one["due_s"]) for one in record["measurements"]]
    except (ValueError, KeyError, TypeError):
        return []


def _of_lines(path: Path, lines: Sequence[str]) -> Iterable[float]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _seconds(_value(line))
            except (ValueError, TypeError) as error:
                reason = f"{path}, line {number}: no time in it"
                raise MeasurementError(reason) from error


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line.strip()


def _seconds(value: Any) -> float:
    """Raises `ValueError` or `TypeError` for what is no time."""
    if isinstance(value, dict):
        if _UNIX_MS in value:
            return float(value[_UNIX_MS]) / 1000
        return _seconds(next((value[name] for name in _TIME_FIELDS if name in value), None))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return datetime.fromisoformat(value).timestamp()
