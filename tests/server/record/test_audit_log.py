import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from server.errors import AuditLogError
from server.record.audit_log import AuditLog
from server.record.entries import Entry, Review, VerdictEntry
from server.record.folder_store import FolderStore
from server.record.query import ReviewQuery, VerdictQuery

Verdicts = Callable[..., VerdictEntry]


class FakeStore:
    """Keeps batches; fails while it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.failure: Exception | None = None
        self.pruned_before: list[int] = []
        self.is_closed = False

    def append(self, entries: Sequence[Entry]) -> None:
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(entries))

    def verdicts(self, query: VerdictQuery) -> Iterator[VerdictEntry]:
        return iter(())

    def prune(self, before_unix_ms: int) -> int:
        self.pruned_before.append(before_unix_ms)
        return 1

    def close(self) -> None:
        self.is_closed = True

    def reviews(self, query: ReviewQuery) -> list[Review]:
        return []

    def review(self, verdict_id: str) -> Review | None:
        return None


def lines(folder: Path) -> list[str]:
    (path,) = folder.glob("*.jsonl")
    return path.read_text(encoding="utf-8").splitlines()


def counted(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("sightward_audit_entries_total", {"result": result})


async def test_entries_that_come_together_are_written_together(verdict: Verdicts) -> None:
    store, registry = FakeStore(), CollectorRegistry()
    log = AuditLog(store, registry)

    written = await asyncio.gather(*(log.write([verdict(n)]) for n in range(20)))

    assert all(written)
    assert sum(len(batch) for batch in store.batches) == 20
    assert len(store.batches) < 20
    assert counted(registry, "written") == 20
    await log.close()
    assert store.is_closed


@pytest.mark.parametrize("failure", [AuditLogError("disk full"), RuntimeError("a bug")])
async def test_what_cant_be_written_is_counted_and_logged_whole(
    verdict: Verdicts, failure: Exception
) -> None:
    store, registry = FakeStore(), CollectorRegistry()
    log = AuditLog(store, registry)
    store.failure = failure

    with capture_logs() as lines:
        assert not await log.write([verdict(1)])
    assert counted(registry, "failed") == 1
    (line,) = lines
    assert line["log_level"] == "error"
    assert VerdictEntry.model_validate(line["entry"]) == verdict(1)

    store.failure = None
    assert await log.write([verdict(2)])
    await log.close()


async def test_a_caller_who_leaves_takes_no_verdict_along(verdict: Verdicts) -> None:
    store = FakeStore()
    log = AuditLog(store, CollectorRegistry())

    writing = asyncio.create_task(log.write([verdict(1)]))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await log.close()

    assert store.batches == [[verdict(1)]]


async def test_a_decision_that_cant_be_written_is_an_error(
    decision: Callable[..., Any],
) -> None:
    store = FakeStore()
    log = AuditLog(store, CollectorRegistry())
    store.failure = AuditLogError("disk full")

    with pytest.raises(AuditLogError):
        await log.decide(decision("x"))
    await log.close()


@pytest.mark.parametrize("days", [None, 7])
async def test_what_is_too_old_is_forgotten_only_if_wanted(days: int | None) -> None:
    store = FakeStore()
    log = AuditLog(store, CollectorRegistry(), retention_days=days)

    pruning = asyncio.create_task(log.keep_pruning())
    await asyncio.wait([pruning], timeout=0.2)
    pruning.cancel()

    assert len(store.pruned_before) == (0 if days is None else 1)
    await log.close()


async def test_a_real_file_holds_a_line_an_entry(tmp_path: Path, verdict: Verdicts) -> None:
    log = AuditLog(FolderStore(tmp_path, max_file_bytes=100_000), CollectorRegistry())
    await log.write([verdict(1), verdict(2)])
    await log.close()

    assert len(lines(tmp_path)) == 2
