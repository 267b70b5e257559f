"""Recorded times, from whatever they were written by."""

import json
from pathlib import Path

import pytest

from benchmarks.errors import MeasurementError
from benchmarks.replay.arrivals import read_arrivals_s


@pytest.mark.parametrize(
    "text",
    [
        "3\n1.5\n\n2\n",
        "2026-11-01T10:00:00.5\n2026-11-01T10:00:02\n2026-11-01T10:00:01\n",
        '{"timestamp": "2026-11-01T10:00:00Z"}\n{"timestamp": "2026-11-01T10:00:01.5Z"}\n'
        '{"timestamp": "2026-11-01T10:00:00.5+00:00"}\n',
        '{"time_unix_ms": 1000, "at": "x"}\n{"time_unix_ms": 1500}\n{"time_unix_ms": 2500}\n',
        json.dumps({"measurements": [{"due_s": 0.0}, {"due_s": 0.5}, {"due_s": 1.5}]}),
    ],
    ids=["seconds", "dates", "log", "audit log", "record"],
)
def test_times_count_from_the_first(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times"
    path.write_text(text)

    assert read_arrivals_s(path) == (0.0, 0.5, 1.5)
    assert read_arrivals_s(path, speed=2.0) == (0.0, 0.25, 0.75)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no times"),
        ("1\nsoon\n", "line 2"),
        ('{"id": 3}', "line 1"),
        ("true", "line 1"),
    ],
)
def test_a_file_without_times_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "times"
    path.write_text(text)

    with pytest.raises(MeasurementError, match=reason):
        read_arrivals_s(path)


def test_no_speed_is_no_speed(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="gets nowhere"):
        read_arrivals_s(tmp_path / "times", speed=0.0)
