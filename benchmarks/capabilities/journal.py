"""What an interrupted run has already been told: answers, block by block, on disk.

A run's folder holds `run.json` (what is measured: a run is only taken up again when all of it is
the same) and `answers.jsonl`, one line a block, written through to the disk before the next block
is asked. A line cut short by a crash is dropped and its block asked again; no answer that was
written down is.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.capabilities.schema import AnswerRow
from benchmarks.errors import MeasurementError


class Block(BaseModel):
    """The answers to one block of tasks and the time it took, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    seconds: float
    part: int
    rows: tuple[AnswerRow, ...]


@dataclass(frozen=True, slots=True)
class _Files:
    run: Path
    answers: Path
    lock: Path


class Journal:
    """The blocks of one run, in its folder; a context manager that keeps other runs out of it.

    `identity` is everything that decides answers. Raises `MeasurementError` when the folder holds a
    run of another identity (naming what differs) or another process is using it.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._files = _Files(folder / "run.json", folder / "answers.jsonl", folder / "run.lock")
        self._identity = json.loads(json.dumps(identity))
        self._lock = FileLock(self._files.lock)
        self._blocks: dict[int, Block] = {}

    @property
    def blocks(self) -> Mapping[int, Block]:
        """Every block that was answered, by its index."""
        return self._blocks

    @property
    def parts(self) -> int:
        """In how many parts the run was made so far."""
        return max((block.part for block in self._blocks.values()), default=-1) + 1

    def __enter__(self) -> "Journal":
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise MeasurementError(f"another process is measuring into {self._folder}") from None
        try:
            self._check_identity()
            self._read_answers()
        except BaseException:
            self._lock.release()
            raise
        self._part = self.parts
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, index: int, rows: Sequence[AnswerRow], *, seconds: float) -> None:
        """Write down a block's answers; they survive whatever happens next."""
        block = Block(index=index, seconds=seconds, part=self._part, rows=tuple(rows))
        with self._files.answers.open("a", encoding="utf-8") as file:
            file.write(block.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._blocks[index] = block

    def _check_identity(self) -> None:
        if not self._files.run.exists():
            _write_whole(self._files.run, json.dumps(self._identity, indent=1) + "\n")
            return
        try:
            found = json.loads(self._files.run.read_text(encoding="utf-8"))
        except ValueError as error:
            raise MeasurementError(f"{self._files.run} can't be read: {error}") from error
        differing = [
            name
            for name in sorted({*found, *self._identity})
            if found.get(name) != self._identity.get(name)
        ]
        if differing:
            raise MeasurementError(
                f"{self._folder} holds another run: not the same {', '.join(differing)}; "
                "give another --out"
            )

    def _read_answers(self) -> None:
        if not self._files.answers.exists():
            return
        written = self._files.answers.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                block = Block.model_validate_json(line)
            except ValidationError as error:
                raise MeasurementError(
                    f"{self._files.answers}:{number} can't be read: {error.errors()[0]['msg']}"
                ) from error
            self._blocks[block.index] = block
        if len(whole) < len(written):
            with self._files.answers.open("r+b") as file:
                file.truncate(len(whole))


def _write_whole(path: Path, text: str) -> None:
    """Never half a file under the final name."""
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
