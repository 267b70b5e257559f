"""Writes the audit log while the service answers: every verdict is on record before its answer.

Entries that come while others are being written go out together, in one write or one transaction,
so that a slow place costs time and not throughput. One that can't be written (disk full, database
gone) is counted, and logged whole, so that no verdict is lost silently; whether its call fails then
is the policy's.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter

from server.errors import AuditLogError
from server.record.entries import DecisionEntry, Entry, Review, now_unix_ms
from server.record.query import ReviewQuery
from server.record.store import ReviewStore

_log = structlog.get_logger("server")

_PRUNE_EVERY_S = 3600.0
_DAY_MS = 24 * 3600 * 1000


@dataclass(slots=True)
class _Waiting:
    entries: Sequence[Entry]
    written: "asyncio.Future[None]"


class AuditLog:
    """Entries into a store, from one event loop. `close` it when done.

    What is older than `retention_days` is forgotten; None: nothing is.
    """

    def __init__(
        self,
        store: ReviewStore,
        registry: CollectorRegistry,
        *,
        retention_days: int | None = None,
    ) -> None:
        self._store = store
        self._retention_days = retention_days
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._entries = Counter(
            "sightward_audit_entries",
            "Entries of the audit log, by how writing them ended: written or failed.",
            ["result"],
            registry=registry,
        )
        for result in ("written", "failed"):
            self._entries.labels(result)

    async def write(self, entries: Sequence[Entry]) -> bool:
        """Put entries on record; False, after logging them, if that failed.

        Goes on when the caller is cancelled: what was judged is on record, heard or not.
        """
        if not entries:
            return True
        waiting = _Waiting(entries, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all(), name="audit-log")
        try:
            await asyncio.shield(waiting.written)
        except AuditLogError:
            return False
        return True

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            entries = [entry for waiting in batch for entry in waiting.entries]
            try:
                await asyncio.to_thread(self._store.append, entries)
            except Exception as error:
                self._note_failure(entries, error)
                for waiting in batch:
                    _end(waiting, AuditLogError(str(error)))
                continue
            self._entries.labels("written").inc(len(entries))
            for waiting in batch:
                _end(waiting, None)

    def _note_failure(self, entries: Sequence[Entry], error: Exception) -> None:
        self._entries.labels("failed").inc(len(entries))
        # What we raise on purpose explains itself; anything else needs its traceback.
        unexpected = None if isinstance(error, AuditLogError) else error
        for entry in entries:
            _log.error(
                "audit entry not written",
                reason=str(error),
                entry=entry.model_dump(mode="json"),
                exc_info=unexpected,
            )

    async def reviews(self, query: ReviewQuery) -> list[Review]:
        """The reviews that are asked for; raises `AuditLogError`."""
        return await asyncio.to_thread(self._store.reviews, query)

    async def review(self, verdict_id: str) -> Review | None:
        """The review of one verdict; raises `AuditLogError`."""
        return await asyncio.to_thread(self._store.review, verdict_id)

    async def decide(self, decision: DecisionEntry) -> None:
        """Put a decision on record; raises `AuditLogError` if that failed."""
        if not await self.write([decision]):
            raise AuditLogError("the decision was not written")

    async def keep_pruning(self) -> None:
        """Forget what is too old, now and every hour, until cancelled."""
        while self._retention_days is not None:
            before_ms = now_unix_ms() - self._retention_days * _DAY_MS
            try:
                removed = await asyncio.to_thread(self._store.prune, before_ms)
            except AuditLogError as error:
                _log.error("audit log not pruned", reason=error.reason)
            else:
                if removed:
                    _log.info("audit log pruned", removed=removed)
            await asyncio.sleep(_PRUNE_EVERY_S)

    async def close(self) -> None:
        """Write what waits, then release the store."""
        if self._writer is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await asyncio.to_thread(self._store.close)


def _end(waiting: _Waiting, error: AuditLogError | None) -> None:
    if waiting.written.done():
        return
    if error is None:
        waiting.written.set_result(None)
    else:
        waiting.written.set_exception(error)
        # Whoever waited may have left; an error that nobody fetches would be reported twice.
        waiting.written.exception()
