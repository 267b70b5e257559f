"""A batch while it arrives: written to the disk as it comes, seen by nobody until it is whole."""

import os
import shutil
import threading
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from server.batches.durable import sync_folder
from server.batches.facts import MAX_CUSTOM_ID_CHARS, BatchFacts, Span
from server.batches.folder import BatchFolder
from server.errors import BatchLinesError, BatchStorageError, InvalidFieldError


class Room:
    """How much more may be written to the folder, by all drafts of this process together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left_bytes = max_bytes
        self._alone = threading.Lock()

    def measure(self, used_bytes: int) -> None:
        """Begin anew from what lies in the folder, drafts included."""
        with self._alone:
            self._left_bytes = self._max_bytes - used_bytes

    def take(self, count_bytes: int) -> None:
        """Use some; raises `BatchStorageError` where there is no more."""
        with self._alone:
            if count_bytes > self._left_bytes:
                raise BatchStorageError("the folder of batches has as much in it as it may")
            self._left_bytes -= count_bytes


class Draft:
    """One arriving batch: `begin` a part, `write` it, `end` it, and so on; then `keep` the batch.

    `discard` it in any case; what was kept stays. Everything here blocks: call it in a thread, one
    call after another. Raises `BatchStorageError` where there is no `room`, or none on the disk.
    """

    def __init__(self, folder: Path, target: Path, room: Room) -> None:
        self._folder = folder
        self._target = target
        self._room = room
        self._alone = threading.Lock()
        self._span: tuple[int, bool, str] | None = None
        self._has_content = False
        self._input: IO[bytes] | None = None
        self._spans: IO[bytes] | None = None
        self._lock = FileLock(self.lock_of(folder), thread_local=False)
        self.lines = 0
        try:
            self._lock.acquire(timeout=0)
            folder.mkdir(mode=0o700)
            self._input = (folder / "input").open("wb")
            self._spans = (folder / "spans.jsonl").open("wb")
        except OSError as error:
            self.discard()
            raise BatchStorageError(f"{folder}: {error.strerror}") from error

    @property
    def id(self) -> str:
        """The id that the batch will have."""
        return self._target.name

    @staticmethod
    def lock_of(folder: Path) -> Path:
        """The file that is locked while a draft arrives."""
        return folder.with_name(f"{folder.name}.lock")

    @classmethod
    def is_left(cls, folder: Path) -> bool:
        """Whether nobody works on what lies there any more."""
        lock = FileLock(cls.lock_of(folder), thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        return True

    def begin(self, *, custom_id: str | None, max_lines: int) -> None:
        """Begin a picture of that name, or without one lines of JSON.

        Raises `BatchLinesError` for a line too many, and `InvalidFieldError` for an unusable name.
        """
        if custom_id is not None:
            self._count_line(max_lines)
            if not 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARS:
                raise InvalidFieldError(
                    f"A file's name needs 1 to {MAX_CUSTOM_ID_CHARS} characters.", param="file"
                )
        self._has_content = False
        self._span = (self._written_bytes, custom_id is not None, custom_id or "")

    def write(self, data: bytes, *, max_lines: int) -> None:
        """Write more of the part that was begun; raises `BatchLinesError` for a line too many."""
        assert self._span is not None  # noqa: S101 - parts are begun before they are written
        with self._alone:
            self._put(data)
        if self._span[1]:
            return
        *ended, rest = data.split(b"\n")
        for piece in ended:
            if self._has_content or not _is_blank(piece):
                self._count_line(max_lines)
            self._has_content = False
        self._has_content = self._has_content or not _is_blank(rest)

    def end(self, *, max_lines: int) -> None:
        """End the part that was begun."""
        assert self._span is not None  # noqa: S101 - parts are begun before they are ended
        offset, is_picture, custom_id = self._span
        if self._has_content and not is_picture:
            self._count_line(max_lines)
        span = Span(
            kind="picture" if is_picture else "lines",
            offset=offset,
            bytes=self._written_bytes - offset,
            custom_id=custom_id,
        )
        self._span = None
        with self._alone:
            assert self._spans is not None  # noqa: S101 - open until discarded
            try:
                self._spans.write(span.model_dump_json().encode() + b"\n")
            except OSError as error:
                raise BatchStorageError(error.strerror or "can't be written") from error

    def keep(self, facts: BatchFacts) -> BatchFolder:
        """Make it a batch, which outlives whatever happens next; raises `BatchStorageError`."""
        try:
            with self._alone:
                for file in (self._input, self._spans):
                    assert file is not None  # noqa: S101 - open until discarded
                    file.flush()
                    os.fsync(file.fileno())
            BatchFolder(self._folder).write_facts(facts)
            if not self._target.parent.exists():
                self._target.parent.mkdir(exist_ok=True, mode=0o700)
                sync_folder(self._target.parent.parent)
            self._folder.rename(self._target)
            sync_folder(self._target.parent)
        except OSError as error:
            raise BatchStorageError(f"{self._target}: {error.strerror}") from error
        return BatchFolder(self._target)

    def discard(self) -> None:
        """Close everything, and delete what was not kept; may be called twice."""
        with self._alone:
            for file in (self._input, self._spans):
                if file is not None:
                    try:
                        file.close()
                    except OSError:  # what was not written yet has no room: it goes anyway
                        continue
            self._input = self._spans = None
        shutil.rmtree(self._folder, ignore_errors=True)
        self.lock_of(self._folder).unlink(missing_ok=True)
        self._lock.release()

    @property
    def _written_bytes(self) -> int:
        return 0 if self._input is None else self._input.tell()

    def _put(self, data: bytes) -> None:
        if self._input is None:
            raise BatchStorageError("the upload was given up")
        self._room.take(len(data))
        try:
            self._input.write(data)
        except OSError as error:
            raise BatchStorageError(error.strerror or "can't be written") from error

    def _count_line(self, max_lines: int) -> None:
        self.lines += 1
        if self.lines > max_lines:
            raise BatchLinesError(limit=max_lines)


def _is_blank(piece: bytes) -> bool:
    return not piece or piece.isspace()
