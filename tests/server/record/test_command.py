import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.record.command import audit, export_reviews
from server.record.entries import VerdictEntry
from server.record.folder_store import FolderStore
from server.record.periods import unix_ms

Verdicts = Callable[..., VerdictEntry]


@pytest.fixture
def log(tmp_path: Path, verdict: Verdicts) -> Path:
    folder = tmp_path / "log"
    store = FolderStore(folder, max_file_bytes=1_000_000)
    store.append([verdict(1), verdict(2, action="block"), verdict(3, action="block")])
    store.close()
    return folder


def test_entries_are_listed_as_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(log=str(log), limit=2, output="jsonl")

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["time_unix_ms"] for one in found] == [1_002, 1_003]


def test_entries_are_counted(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(log=str(log), count="action")

    shown = capsys.readouterr().out
    assert [line.split()[1::2] for line in shown.splitlines() if "block" in line] == [
        ["block", "2"]
    ]


def test_a_table_names_what_was_decided(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(log=str(log), limit=1)

    shown = capsys.readouterr().out
    assert "block" in shown
    assert "--limit 0" in shown


@pytest.mark.parametrize(("place", "since"), [("/nowhere/at/all", None), (None, "yesterday")])
def test_a_mistake_is_one_line_and_no_traceback(
    log: Path, place: str | None, since: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        audit(log=place or str(log), since=since)

    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_reading_makes_no_log(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        export_reviews(tmp_path / "out", log=str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30s", 970_000),
        ("1970-01-01T00:01:00+00:00", 60_000),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T02:00+01:00", 3_600_000),
    ],
)
def test_times_are_read_as_people_write_them(text: str, ms: int) -> None:
    assert unix_ms(text, now_unix_ms=1_000_000) == ms
