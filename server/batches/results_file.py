"""A batch's results: a file that only grows, by whole lines that are on the disk.

A write that fails half-way is taken back. What a crash left half-written is cut off when the file
is taken up again, and those lines are judged again; whoever reads never sees it, because readers
stop where the batch's state says that the durable part ends.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """What a results file held when it was taken up: which lines, and how they went."""

    size_bytes: int = 0
    completed: int = 0
    failed: int = 0
    lines: set[int] = field(default_factory=set)


class ResultsFile:
    """The results of one batch, for the one process that works on it. `close` it when done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self.size_bytes = 0

    def take_up(self) -> Taken:
        """Open the file, made if need be, and cut off what is not whole; raises `OSError`."""
        self.close()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        found = _whole_lines(self._path)
        os.ftruncate(self._file, found.size_bytes)
        os.fsync(self._file)
        self.size_bytes = found.size_bytes
        return found

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines and wait until the disk has them; raises `OSError` with none written."""
        assert self._file is not None  # noqa: S101 - taken up before
        try:
            rest = memoryview(b"".join(lines))
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size_bytes)
            raise
        self.size_bytes += sum(map(len, lines))

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._file is not None:
            os.close(self._file)
        self._file = None


def _whole_lines(path: Path) -> Taken:
    size_bytes = completed = failed = 0
    seen: set[int] = set()
    with path.open("rb") as file:
        for line in file:
            try:
                answer = json.loads(line)
                number, error = int(answer["line"]), answer["error"]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            size_bytes += len(line)
            seen.add(number)
            completed += error is None
            failed += error is not None
    return Taken(size_bytes, completed, failed, seen)


def read_blocks(path: Path, *, size_bytes: int, after: int, limit: int | None) -> Iterator[bytes]:
    """Up to `limit` lines behind the first `after`, of the first `size_bytes`, in blocks."""
    left_bytes, skip, left = size_bytes, after, limit
    try:
        file = path.open("rb")
    except FileNotFoundError:  # nothing was answered yet
        return
    with file:
        while left_bytes > 0 and left != 0:
            block = file.read(min(_BLOCK_BYTES, left_bytes))
            if not block:
                return
            left_bytes -= len(block)
            count = block.count(b"\n")
            if skip >= count and skip:
                skip -= count
                if not skip:
                    # The rest of the block belongs to the first line that is wanted.
                    block = block[block.rfind(b"\n") + 1 :]
                    if block:
                        yield block
                continue
            begin = _behind(block, skip)
            skip = 0
            end = len(block)
            if left is not None:
                inside = block.count(b"\n", begin)
                if inside >= left:
                    end = _behind(block, left, begin)
                    left = 0
                else:
                    left -= inside
            if end > begin:
                yield block[begin:end]


def _behind(block: bytes, lines: int, begin: int = 0) -> int:
    """Where the text behind so many lines begins."""
    at = begin
    for _ in range(lines):
        at = block.index(b"\n", at) + 1
    return at
