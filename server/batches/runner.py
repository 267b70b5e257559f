"""Finds batches that nobody works on and has them worked on, as long as the service lives.

Every process that shares the folder looks for itself; a batch's lock decides whose it is. What a
dead process worked on is found again within seconds.
"""

import asyncio
import contextlib
import time
from collections import Counter as Tally
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from filelock import BaseFileLock, Timeout

from server.batches.folder import BatchFolder
from server.batches.job import BatchJob, Trouble
from server.batches.metrics import BatchMetrics
from server.batches.store import BatchStore
from server.errors import SightwardError

if TYPE_CHECKING:
    from pathlib import Path

    from server.batches.facts import Status

_LOOK_EVERY_S = 2.0
_PRUNE_EVERY_S = 3600.0
_STOP_TIMEOUT_S = 10.0
_BROKEN_PAUSE_S = 60.0
_DAY_S = 24 * 3600.0

_log = structlog.get_logger("server")


class BatchRunner:
    """Works on batches from `start` to `stop`."""

    def __init__(
        self,
        store: BatchStore,
        make_job: Callable[[BatchFolder], BatchJob],
        metrics: BatchMetrics,
        *,
        retention_days: int,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._make_job = make_job
        self._metrics = metrics
        self._retention_s = retention_days * _DAY_S
        self._clock_s = clock_s
        self._jobs: dict[str, BatchJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken_until_s: dict[str, float] = {}
        self._ended: dict[Path, tuple[Status, float]] = {}
        self._bell = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._prune_at_s = 0.0

    def start(self) -> None:
        """Begin looking; returns at once."""
        self._looking = asyncio.create_task(self._look(), name="batches")

    def wake(self) -> None:
        """Look at once: a batch has come, or is to be cancelled."""
        self._bell.set()

    def waiting_for(self, batch_id: str) -> Trouble | None:
        """What keeps a batch that this process works on from going on; None: nothing."""
        job = self._jobs.get(batch_id)
        return None if job is None else job.waiting_for

    async def stop(self) -> None:
        """Finish the lines in hand, leave everything else for the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for job in self._jobs.values():
            job.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_STOP_TIMEOUT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            try:
                await self._adopt()
                if time.monotonic() >= self._prune_at_s:
                    self._prune_at_s = time.monotonic() + _PRUNE_EVERY_S
                    await asyncio.to_thread(self._prune)
            except (SightwardError, OSError) as error:
                _log.error("batches can't be looked at", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._bell.wait()
            self._bell.clear()

    async def _adopt(self) -> None:
        """Begin to work on every batch that has not ended and that nobody has in hand."""
        for folder, lock in await asyncio.to_thread(self._free_batches):
            job = self._jobs[folder.id] = self._make_job(folder)
            task = asyncio.create_task(self._work(folder, lock, job), name=folder.id)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _free_batches(self) -> list[tuple[BatchFolder, BaseFileLock]]:
        """Batches that are ours from now on, with their locks; shows what lies in the folder."""
        found: list[tuple[BatchFolder, BaseFileLock]] = []
        tally: Tally[Status] = Tally()
        ended: dict[Path, tuple[Status, float]] = {}
        for folder in self._store.all():
            known = self._ended.get(folder.path)
            if known is None:
                try:
                    state = folder.state()
                except SightwardError as error:
                    _log.error("batch can't be read", batch=folder.id, reason=str(error))
                    continue
                status = state.status
                if status.is_end and not folder.input.exists():
                    ended[folder.path] = (status, state.ended_unix_s or 0.0)
                elif self._is_free(folder) and (lock := _taken(folder)) is not None:
                    found.append((folder, lock))
            else:
                ended[folder.path] = known
                status = known[0]
            tally[status] += 1
        self._ended = ended
        self._metrics.show(tally)
        return found

    def _is_free(self, folder: BatchFolder) -> bool:
        """Whether it is not in hand here; one that broke off is left alone for a while."""
        is_broken = time.monotonic() < self._broken_until_s.get(folder.id, 0.0)
        return folder.id not in self._jobs and not is_broken

    async def _work(self, folder: BatchFolder, lock: BaseFileLock, job: BatchJob) -> None:
        try:
            await job.run()
        except Exception:
            # It is taken up again later; the others go on meanwhile.
            self._broken_until_s[folder.id] = time.monotonic() + _BROKEN_PAUSE_S
            _log.exception("batch broken off", batch=folder.id)
        else:
            self._broken_until_s.pop(folder.id, None)
            self.wake()
        finally:
            self._jobs.pop(folder.id, None)
            lock.release()

    def _prune(self) -> None:
        """Delete what is too old, and what dead processes left half-done."""
        self._store.sweep()
        before_s = self._clock_s() - self._retention_s
        for path, (_, ended_s) in list(self._ended.items()):
            if ended_s < before_s and self._store.delete(BatchFolder(path)):
                _log.info("batch deleted after its retention", batch=path.name)


def _taken(folder: BatchFolder) -> BaseFileLock | None:
    """The batch's lock, taken; None: another process works on it."""
    lock = folder.lock()
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return None
    return lock
