"""What two models said of one input, and who was what, in both places and on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.record.entries import ComparisonEntry, DecisionEntry, RolloutEntry, VerdictEntry
from server.record.folder_store import FolderStore
from server.record.models_command import audit_models
from server.record.query import ModelQuery, ReviewQuery, VerdictQuery
from server.record.store import AuditStore

Comparisons = Callable[..., ComparisonEntry]
Changes = Callable[..., RolloutEntry]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (ModelQuery(), [1, 2, 3]),
        (ModelQuery(disagree=True), [2, 3]),
        (ModelQuery(role="canary"), [3]),
        (ModelQuery(tenant="shop"), [2]),
        (ModelQuery(fingerprint="cd" * 32), [1]),
        (ModelQuery(since_ms=1_002, until_ms=1_003), [2]),
        (ModelQuery("rollout"), [4]),
        (ModelQuery("rollout", until_ms=1_004), []),
    ],
)
def test_entries_about_models_are_found(
    store: AuditStore,
    comparison: Comparisons,
    change: Changes,
    query: ModelQuery,
    numbers: list[int],
) -> None:
    entries = [
        comparison(1, fingerprint="cd" * 32),
        comparison(2, action="block", tenant="shop"),
        comparison(3, action="review", role="canary", answered_by="canary"),
        change(4),
    ]
    store.append(entries)
    found = list(store.about_models(query))
    assert [one.time_unix_ms - 1_000 for one in found] == numbers
    assert all(one in entries for one in found)


def test_they_are_no_verdicts_and_no_reviews(
    store: AuditStore,
    verdict: Callable[..., VerdictEntry],
    decision: Callable[..., DecisionEntry],
    comparison: Comparisons,
    change: Changes,
) -> None:
    entry = verdict(1)
    both = comparison(2, action="review")
    reviewed = both.model_copy(update={"default": both.other})
    store.append([entry, decision(entry.id), reviewed, change(3)])
    assert list(store.verdicts(VerdictQuery())) == [entry]
    assert [one.verdict for one in store.reviews(ReviewQuery(status="any"))] == [entry]


def test_they_grow_old_like_all_others(store: AuditStore, comparison: Comparisons) -> None:
    store.append([comparison(1), comparison(2)])
    store.close()
    assert store.prune(2**52) > 0
    assert list(store.about_models(ModelQuery())) == []


def test_an_unknown_probability_is_no_difference(comparison: Comparisons) -> None:
    known = comparison(1)
    assert known.difference == 0.5
    unknown = known.other.model_copy(update={"p_unsafe": None})
    assert known.model_copy(update={"other": unknown}).difference is None


@pytest.fixture
def log(tmp_path: Path, comparison: Comparisons, change: Changes) -> str:
    written = FolderStore(tmp_path / "log", max_file_bytes=1_000_000)
    written.append([comparison(1), comparison(2, action="block"), change(3)])
    written.close()
    return str(tmp_path / "log")


@pytest.mark.parametrize(
    ("show", "times"),
    [("disagreements", [1_002]), ("comparisons", [1_001, 1_002]), ("changes", [1_003])],
)
def test_the_command_lists_what_is_asked_for(
    log: str, show: str, times: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    audit_models(log=log, show=show, output="jsonl")  # type: ignore[arg-type]
    found = [json.loads(line)["time_unix_ms"] for line in capsys.readouterr().out.splitlines()]
    assert found == times


def test_the_command_shows_tables_and_counts(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    audit_models(log=log)
    audit_models(log=log, show="changes")
    audit_models(log=log, count=True)
    shown = capsys.readouterr().out
    assert "block" in shown
    assert "promote" in shown
    assert "shadow: allow -> block" in shown


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        audit_models(log=str(tmp_path / "absent"))
    assert len(capsys.readouterr().err.splitlines()) == 1
