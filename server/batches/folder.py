"""One batch's folder: what lies where in it.

``batch.json`` and ``state.json`` say what the batch is and how far; ``input`` holds what was sent,
pictures included, and ``spans.jsonl`` and ``index.jsonl`` say where in it what stands; they go when
the batch has ended. ``results.jsonl`` only grows. ``cancel`` is there once someone wants it ended,
and ``lock`` is held by the process that works on it, so that of several only one does; a process
that dies lets go of it.
"""

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from server.batches.durable import replace_file
from server.batches.facts import BatchFacts, BatchState, Status
from server.errors import BatchStorageError


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """The folder of one batch. Everything here blocks: call it in a thread."""

    path: Path

    @property
    def id(self) -> str:
        """The batch's id."""
        return self.path.name

    @property
    def input(self) -> Path:
        """What was sent."""
        return self.path / "input"

    @property
    def spans(self) -> Path:
        """Which parts the input has."""
        return self.path / "spans.jsonl"

    @property
    def index(self) -> Path:
        """Which lines the input has."""
        return self.path / "index.jsonl"

    @property
    def results(self) -> Path:
        """What was answered."""
        return self.path / "results.jsonl"

    def lock(self) -> FileLock:
        """The right to work on this batch, not taken yet."""
        return FileLock(self.path / "lock", thread_local=False)

    def facts(self) -> BatchFacts:
        """What the batch was made as; raises `BatchStorageError`."""
        try:
            return BatchFacts.model_validate_json((self.path / "batch.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise BatchStorageError(f"{self.path}: batch.json can't be read") from error

    def write_facts(self, facts: BatchFacts) -> None:
        """Raises `OSError`."""
        replace_file(self.path / "batch.json", facts.model_dump_json().encode())

    def state(self) -> BatchState:
        """How far the batch is, its cancellation included; raises `BatchStorageError`."""
        try:
            state = BatchState.model_validate_json((self.path / "state.json").read_bytes())
        except FileNotFoundError:
            state = BatchState()
        except (OSError, ValidationError) as error:
            raise BatchStorageError(f"{self.path}: state.json can't be read") from error
        asked_s = None if state.status.is_end else self.cancel_asked_unix_s()
        if asked_s is None:
            return state
        changed = {"status": Status.CANCELLING, "cancelling_unix_s": asked_s}
        return state.model_copy(update=changed)

    def write_state(self, state: BatchState, *, is_durable: bool) -> None:
        """Raises `OSError`."""
        content = state.model_dump_json().encode()
        replace_file(self.path / "state.json", content, is_durable=is_durable)

    def ask_to_cancel(self, now_unix_s: int) -> None:
        """Want it ended; whoever works on it sees that. Raises `OSError`."""
        if not self.is_cancel_asked():
            replace_file(self.path / "cancel", str(now_unix_s).encode())

    def is_cancel_asked(self) -> bool:
        """Whether someone wants it ended."""
        return (self.path / "cancel").exists()

    def cancel_asked_unix_s(self) -> int | None:
        """When someone first wanted it ended; None: nobody does."""
        try:
            return int((self.path / "cancel").read_bytes())
        except (OSError, ValueError):
            return None

    def drop_input(self) -> None:
        """Delete what was sent: nobody needs it any more."""
        for path in (self.input, self.spans, self.index):
            path.unlink(missing_ok=True)
