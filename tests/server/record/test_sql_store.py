from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import AuditLogError
from server.record.entries import DecisionEntry, VerdictEntry
from server.record.query import VerdictQuery
from server.record.sql_store import SqlStore


def test_entries_of_a_batch_are_written_together_or_not_at_all(
    tmp_path: Path, verdict: Callable[..., VerdictEntry]
) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'a.db'}")
    store.append([verdict(1)])

    with pytest.raises(AuditLogError, match="UNIQUE") as caught:
        store.append([verdict(2), verdict(1)])
    assert "req-1" not in str(caught.value)
    assert [found.time_unix_ms for found in store.verdicts(VerdictQuery())] == [1_001]
    store.close()


def test_old_entries_are_deleted(
    tmp_path: Path,
    verdict: Callable[..., VerdictEntry],
    decision: Callable[..., DecisionEntry],
) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'a.db'}")
    store.append([verdict(1), verdict(2), decision(verdict(1).id)])

    assert store.prune(1_002) == 1
    assert [found.time_unix_ms for found in store.verdicts(VerdictQuery())] == [1_002]
    store.close()


def test_more_than_a_page_is_read_to_its_end(
    tmp_path: Path, verdict: Callable[..., VerdictEntry]
) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'a.db'}")
    store.append([verdict(n) for n in range(1_001)])

    assert sum(1 for _ in store.verdicts(VerdictQuery())) == 1_001
    store.close()


@pytest.mark.parametrize("url", ["nonsense://", "sqlite:////nowhere/at/all.db"])
def test_a_database_that_cant_be_opened_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(AuditLogError) as caught:
        SqlStore(url)
    assert "\n" not in str(caught.value)
