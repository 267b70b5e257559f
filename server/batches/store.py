"""All batches: a folder a tenant, in it a folder a batch, beside them drafts of what is arriving.

Who asks about a batch looks in its own tenant's folder alone, so another tenant's does not exist
for it. A batch appears by a rename, whole or not at all.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from server.batches.draft import Draft, Room
from server.batches.folder import BatchFolder
from server.errors import BatchStorageError, UnknownBatchError
from server.record.entries import new_id, now_unix_ms

ID_PREFIX = "batch_"
_ID = re.compile(rf"{ID_PREFIX}[0-9a-f]{{24}}")
# A tenant may be called "..", a folder may not.
_TENANT_PREFIX = "tenant-"
_DRAFTS = "drafts"


class BatchStore:
    """The folder of all batches, made if need be; raises `BatchStorageError`.

    Several processes may share it, on one machine or by a file system that locks for all of them.
    Everything here blocks: call it in a thread.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            (root / _DRAFTS).mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(root, os.W_OK | os.X_OK):
                raise BatchStorageError(f"{root}: can't be written")
        except OSError as error:
            raise BatchStorageError(f"{root}: {error.strerror}") from error

    def draft(self, tenant: str, room: Room) -> Draft:
        """A place for a batch that is arriving; raises `BatchStorageError`."""
        batch_id = ID_PREFIX + new_id(now_unix_ms())
        target = self._root / f"{_TENANT_PREFIX}{tenant}" / batch_id
        return Draft(self._root / _DRAFTS / batch_id, target, room)

    def find(self, tenant: str, batch_id: str) -> BatchFolder:
        """A tenant's batch; raises `UnknownBatchError`."""
        path = self._root / f"{_TENANT_PREFIX}{tenant}" / batch_id
        if not _ID.fullmatch(batch_id) or not path.is_dir():
            raise UnknownBatchError(batch_id)
        return BatchFolder(path)

    def page(self, tenant: str, *, after: str, limit: int) -> list[BatchFolder]:
        """A tenant's batches, newest first, beginning behind `after`."""
        found = sorted(_batches_in(self._root / f"{_TENANT_PREFIX}{tenant}"), reverse=True)
        return [BatchFolder(path) for path in found if not after or path.name < after][:limit]

    def all(self) -> Iterator[BatchFolder]:
        """Every batch, oldest first within each tenant."""
        for tenant in sorted(self._root.glob(f"{_TENANT_PREFIX}*")):
            yield from (BatchFolder(path) for path in sorted(_batches_in(tenant)))

    def unfinished(self, tenant: str) -> int:
        """How many of a tenant's batches have not ended."""
        batches = _batches_in(self._root / f"{_TENANT_PREFIX}{tenant}")
        return sum(not BatchFolder(path).state().status.is_end for path in batches)

    def used_bytes(self) -> int:
        """Of everything in the folder, drafts included."""
        total = 0
        for folder, _, files in os.walk(self._root):
            for name in files:
                try:
                    total += os.stat(os.path.join(folder, name)).st_size
                except FileNotFoundError:  # it was deleted just now
                    continue
        return total

    def delete(self, batch: BatchFolder) -> bool:
        """Delete a batch with all that is in it; False: somebody works on it."""
        lock = batch.lock()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise BatchStorageError(f"{batch.path}: {error.strerror}") from error
        # First out of sight: what can't be deleted at once must not look like a batch.
        gone = self._root / _DRAFTS / f"{batch.id}.deleted"
        try:
            batch.path.rename(gone)
        except OSError as error:
            raise BatchStorageError(f"{batch.path}: {error.strerror}") from error
        finally:
            lock.release()
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def sweep(self) -> None:
        """Delete what processes that died left half-done."""
        for path in (self._root / _DRAFTS).iterdir():
            if path.is_dir() and Draft.is_left(path):
                shutil.rmtree(path, ignore_errors=True)
                Draft.lock_of(path).unlink(missing_ok=True)


def _batches_in(tenant: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(tenant) if _ID.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
