"""What the routes ask about batches: take one, show one, its results, end it, delete it.

Everything that touches the disk happens in threads.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client import CollectorRegistry

from server.api.engine_session import Serving
from server.api.keys import KeyHolder
from server.api.lifecycle import Lifecycle, Phase
from server.api.moderate import CallHandler
from server.api.schemas import SightwardOptions
from server.batches.draft import Draft, Room
from server.batches.facts import BatchFacts, BatchState, Status
from server.batches.folder import BatchFolder
from server.batches.job import BatchJob, Trouble
from server.batches.judging import LineJudge
from server.batches.metrics import BatchMetrics
from server.batches.pace import Load, Pace
from server.batches.results_file import read_blocks
from server.batches.runner import BatchRunner
from server.batches.store import BatchStore
from server.concepts.policy_watch import LivePolicies
from server.errors import (
    BatchEndedError,
    BatchesAtOnceError,
    BatchNotEndedError,
    BatchStorageError,
    QueueFullError,
    SettingsError,
)
from server.settings import PREFIX, Settings

UPLOADS_AT_ONCE = 4
_BUSY_RETRY_S = 10.0
_HOUR_S = 3600.0


class Batches:
    """The batches of one app; `start` it, and `stop` it before the engine goes."""

    def __init__(
        self,
        store: BatchStore,
        metrics: BatchMetrics,
        settings: Settings,
        *,
        handler: CallHandler,
        serving: Callable[[], Serving],
        policies: LivePolicies,
        lifecycle: Lifecycle,
        load: Load,
    ) -> None:
        self._store = store
        self._settings = settings
        self._room = Room(settings.batches_max_spool_bytes)
        self._uploads = 0
        judge = LineJudge(handler, serving, policies, settings)
        pace = Pace(
            load,
            is_open=lambda: lifecycle.phase is Phase.READY,
            at_once=settings.batches_lines_at_once,
        )
        self._runner = BatchRunner(
            store,
            lambda folder: BatchJob(
                folder, judge, pace, metrics, max_line_bytes=settings.max_body_bytes
            ),
            metrics,
            retention_days=settings.batches_retention_days,
        )

    def start(self) -> None:
        """Go on with what is there."""
        self._runner.start()

    async def stop(self) -> None:
        """Finish the lines in hand and leave the rest for the next start."""
        await self._runner.stop()

    async def take(
        self, holder: KeyHolder, receive: Callable[[Draft], Awaitable[SightwardOptions]]
    ) -> tuple[BatchFacts, BatchState]:
        """Make a batch of what `receive` writes to its draft.

        Raises `BatchesAtOnceError`, `BatchStorageError`, `QueueFullError` when too many arrive at
        once, and what `receive` does; then nothing is left of it.
        """
        if self._uploads >= UPLOADS_AT_ONCE:
            raise QueueFullError(retry_after_s=_BUSY_RETRY_S)
        self._uploads += 1
        draft: Draft | None = None
        try:
            await asyncio.to_thread(self._require_place, holder.tenant)
            draft = await asyncio.to_thread(self._new_draft, holder.tenant)
            options = await receive(draft)
            await asyncio.to_thread(self._require_place, holder.tenant)
            now_s = int(time.time())
            facts = BatchFacts(
                id=draft.id,
                tenant=holder.tenant,
                key_id=holder.id,
                created_unix_s=now_s,
                expires_unix_s=now_s + int(self._settings.batches_window_h * _HOUR_S),
                options=options,
            )
            await asyncio.to_thread(draft.keep, facts)
        finally:
            self._uploads -= 1
            if draft is not None:
                await asyncio.shield(asyncio.to_thread(draft.discard))
        self._runner.wake()
        return facts, BatchState()

    async def show(self, tenant: str, batch_id: str) -> tuple[BatchFacts, BatchState]:
        """Raises `UnknownBatchError`."""
        return await asyncio.to_thread(lambda: _seen(self._store.find(tenant, batch_id)))

    async def page(
        self, tenant: str, *, after: str, limit: int
    ) -> list[tuple[BatchFacts, BatchState]]:
        """A tenant's batches, newest first."""

        def read() -> list[tuple[BatchFacts, BatchState]]:
            return [_seen(one) for one in self._store.page(tenant, after=after, limit=limit)]

        return await asyncio.to_thread(read)

    async def results(
        self, tenant: str, batch_id: str, *, after: int, limit: int | None
    ) -> Iterator[bytes]:
        """The answers there are now, in blocks, to be read in a thread; `UnknownBatchError`."""

        def find() -> Iterator[bytes]:
            folder = self._store.find(tenant, batch_id)
            size_bytes = folder.state().results_bytes
            return read_blocks(folder.results, size_bytes=size_bytes, after=after, limit=limit)

        return await asyncio.to_thread(find)

    async def cancel(self, tenant: str, batch_id: str) -> tuple[BatchFacts, BatchState]:
        """Have a batch end; raises `UnknownBatchError` and `BatchEndedError`."""

        def ask() -> tuple[BatchFacts, BatchState]:
            folder = self._store.find(tenant, batch_id)
            facts, state = _seen(folder)
            if state.status in (Status.CANCELLED, Status.CANCELLING):
                return facts, state
            if state.status.is_end:
                raise BatchEndedError(state.status.value)
            try:
                folder.ask_to_cancel(int(time.time()))
            except OSError as error:
                raise BatchStorageError(f"{folder.path}: {error.strerror}") from error
            return _seen(folder)

        seen = await asyncio.to_thread(ask)
        self._runner.wake()
        return seen

    async def delete(self, tenant: str, batch_id: str) -> None:
        """Delete a batch that has ended; raises `UnknownBatchError`, `BatchNotEndedError`."""

        def delete() -> None:
            folder = self._store.find(tenant, batch_id)
            status = folder.state().status
            if not status.is_end or not self._store.delete(folder):
                raise BatchNotEndedError(status.value)

        await asyncio.to_thread(delete)

    def waiting_for(self, batch_id: str) -> Trouble | None:
        """What keeps a batch that this process works on from going on."""
        return self._runner.waiting_for(batch_id)

    def _require_place(self, tenant: str) -> None:
        limit = self._settings.batches_max_open
        if self._store.unfinished(tenant) >= limit:
            raise BatchesAtOnceError(limit=limit)

    def _new_draft(self, tenant: str) -> Draft:
        self._room.measure(self._store.used_bytes())
        return self._store.draft(tenant, self._room)


def open_batches(
    settings: Settings,
    registry: CollectorRegistry,
) -> tuple[BatchStore, BatchMetrics] | None:
    """The folder of batches of the settings, None: none; raises `SettingsError`."""
    if settings.batches_dir is None:
        return None
    try:
        store = BatchStore(settings.batches_dir)
    except BatchStorageError as error:
        raise SettingsError((f"{PREFIX}BATCHES_DIR: {error.reason}",)) from error
    return store, BatchMetrics(registry)


def _seen(folder: BatchFolder) -> tuple[BatchFacts, BatchState]:
    return folder.facts(), folder.state()
