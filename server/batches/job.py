"""The work on one batch, from where it stands to its end.

Lines are judged side by side and answered in the order in which they are done; a line counts as
answered once the disk has its answer, and a process that takes the batch up later judges the
others. What stands in the way of all lines (no model, no disk, no audit log) is waited out. A line
that the model died on is asked about again alone, so that it can take no others with it, and given
up after three deaths.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import structlog

from server.batches.facts import BatchFacts, BatchState, Status
from server.batches.folder import BatchFolder
from server.batches.index import Entry, read_index, write_index
from server.batches.judging import (
    Answered,
    ComeAgainError,
    LineJudge,
    given_up_line,
    unanswered_line,
)
from server.batches.metrics import BatchMetrics, LineOutcome
from server.batches.pace import Pace
from server.batches.results_file import ResultsFile, Taken
from server.errors import AuditLogError
from server.task_group import task_group

_log = structlog.get_logger("server")
_Result = TypeVar("_Result")

MAX_DEATHS = 3
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_ANSWERS_WAITING = 64
_LAST_LINES_AT_ONCE = 1000
_UNANSWERED: dict[Status, tuple[LineOutcome, str, str]] = {
    Status.CANCELLED: ("cancelled", "batch_cancelled", "The batch was cancelled before this line."),
    Status.EXPIRED: ("expired", "batch_expired", "The batch expired before this line."),
}

Trouble = Literal["model", "storage", "audit_log"]


@dataclass(slots=True)
class _Line:
    """A line to be judged; as a suspect alone, of `asked`, which died on it `deaths` times."""

    entry: Entry
    is_suspect: bool = False
    deaths: int = 0
    asked: object = None


class BatchJob:
    """Works on one batch, whose lock the caller holds. `stop` it, or `run` it to its end.

    `pause` waits for seconds, `clock_s` is Unix time.
    """

    def __init__(
        self,
        folder: BatchFolder,
        judge: LineJudge,
        pace: Pace,
        metrics: BatchMetrics,
        *,
        max_line_bytes: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._judge = judge
        self._pace = pace
        self._metrics = metrics
        self._max_line_bytes = max_line_bytes
        self._pause = pause
        self._clock_s = clock_s
        self._results = ResultsFile(folder.results)
        self._answers: asyncio.Queue[tuple[LineOutcome, Answered] | None] = asyncio.Queue(
            _ANSWERS_WAITING
        )
        self._in_hand = 0
        self._line_ended = asyncio.Event()
        self._suspects: deque[_Line] = deque()
        self._is_suspect_in_hand = False
        self._is_stopping = False
        self._trouble: Trouble | None = None
        self._state = BatchState()
        self._facts: BatchFacts | None = None

    @property
    def waiting_for(self) -> Trouble | None:
        """What keeps the batch from going on; None: nothing but other work."""
        return "model" if self._trouble is None and not self._pace.is_open else self._trouble

    def stop(self) -> None:
        """Take no more lines; `run` returns once those in hand are answered."""
        self._is_stopping = True

    async def run(self) -> None:
        """Work until the batch has ended, or `stop` was called; may be cancelled at any time."""
        try:
            self._facts = await self._insist(self._folder.facts)
            self._state = await self._insist(self._folder.state)
            if self._state.status.is_end:  # but for this
                await self._insist(self._folder.drop_input)
                return
            if not await self._validated():
                return
            taken = await self._insist(self._results.take_up)
            entries = await self._insist(lambda: read_index(self._folder))
            left = [entry for entry in entries if entry.line not in taken.lines]
            await self._begin(taken, total=len(entries))
            async with task_group() as group:
                writing = group.create_task(self._write_answers())
                end = await self._take_lines(group, left)
                await self._answers.put(None)
                await writing
            if end is not None:
                await self._end(end, entries)
        finally:
            self._results.close()

    async def _validated(self) -> bool:
        """Whether the batch can be worked on; one that can't has failed."""
        if self._folder.index.exists():
            return True
        indexed = await self._insist(
            lambda: write_index(self._folder, max_line_bytes=self._max_line_bytes)
        )
        self._state = self._state.model_copy(update={"total": indexed.total})
        if indexed.problems:
            await self._finish(Status.FAILED, problems=indexed.problems)
            return False
        return True

    async def _begin(self, taken: Taken, *, total: int) -> None:
        # Counts are the results' own: a state may be older than they are.
        self._state = self._state.model_copy(
            update={
                "status": Status.IN_PROGRESS,
                "total": total,
                "completed": taken.completed,
                "failed": taken.failed,
                "results_bytes": taken.size_bytes,
                "in_progress_unix_s": self._state.in_progress_unix_s or int(self._clock_s()),
            }
        )
        await self._insist(lambda: self._folder.write_state(self._state, is_durable=True))

    async def _take_lines(self, group: asyncio.TaskGroup, left: list[Entry]) -> Status | None:
        """Have lines judged until none is left; says how the batch ended, None: not yet."""
        fresh: Iterator[_Line] = (_Line(entry) for entry in left)
        while True:
            line = self._next(fresh)
            if line is None:
                if not self._in_hand and not self._suspects:
                    return Status.COMPLETED
                await self._until_a_line_ends()
                continue
            if not await self._pace.turn(self._is_over):
                while self._in_hand:
                    await self._until_a_line_ends()
                return self._end_asked()
            self._in_hand += 1
            self._is_suspect_in_hand = line.is_suspect
            group.create_task(self._answer(line))

    def _is_over(self) -> bool:
        return self._is_stopping or self._end_asked() is not None

    def _end_asked(self) -> Status | None:
        assert self._facts is not None  # noqa: S101 - read first of all
        if self._folder.is_cancel_asked():
            return Status.CANCELLED
        return Status.EXPIRED if self._clock_s() >= self._facts.expires_unix_s else None

    def _next(self, fresh: Iterator[_Line]) -> _Line | None:
        """The line to begin; None: those in hand have to end first, or there is none."""
        if self._suspects:
            return None if self._in_hand else self._suspects.popleft()
        return None if self._is_suspect_in_hand else next(fresh, None)

    async def _until_a_line_ends(self) -> None:
        self._line_ended.clear()
        await self._line_ended.wait()

    async def _answer(self, line: _Line) -> None:
        assert self._facts is not None  # noqa: S101 - read first of all
        self._metrics.show_running(self._pace.running)
        try:
            answered = await self._judge.answer(line.entry, self._facts, self._folder)
            await self._answers.put(("failed" if answered.is_error else "completed", answered))
            if self._trouble != "storage":
                self._trouble = None
        except ComeAgainError as error:
            await self._come_again(line, error)
        except OSError as error:
            _log.error("batch can't be read", batch=self._folder.id, reason=error.strerror)
            self._trouble = "storage"
            await self._pause(_FIRST_PAUSE_S)
            line.is_suspect = True
            self._suspects.append(line)
        finally:
            self._pace.done()
            self._in_hand -= 1
            self._is_suspect_in_hand = False
            self._line_ended.set()
            self._metrics.show_running(self._pace.running)

    async def _come_again(self, line: _Line, error: ComeAgainError) -> None:
        """Have the line judged later, alone; or give it up where it keeps killing the model."""
        is_models = not isinstance(error.cause, AuditLogError)
        if is_models and line.asked is not None and error.asked not in (None, line.asked):
            # Another model is asked by now: the one before died while this line was alone with it.
            line.deaths += 1
        if line.deaths >= MAX_DEATHS - 1:
            await self._answers.put(("failed", given_up_line(line.entry)))
            return
        self._trouble = "model" if is_models else "audit_log"
        if line.is_suspect:
            line.asked = (error.asked or line.asked) if is_models else None
            await self._pause(_FIRST_PAUSE_S)
        line.is_suspect = True
        self._suspects.append(line)

    async def _write_answers(self) -> None:
        """Write answers as they come, all that wait at once, until there will be no more."""
        is_last = False
        while not is_last:
            waiting = [await self._answers.get()]
            while not self._answers.empty():
                waiting.append(self._answers.get_nowait())
            answers = [one for one in waiting if one is not None]
            is_last = len(answers) < len(waiting)
            if answers:
                await self._write(answers)

    async def _write(self, answers: list[tuple[LineOutcome, Answered]]) -> None:
        lines = [answered.text for _, answered in answers]
        await self._insist(lambda: self._results.append(lines))
        failed = sum(answered.is_error for _, answered in answers)
        self._state = self._state.model_copy(
            update={
                "completed": self._state.completed + len(answers) - failed,
                "failed": self._state.failed + failed,
                "results_bytes": self._results.size_bytes,
            }
        )
        # Whoever takes the batch up counts the results anew, so this need not outlive a crash.
        await self._insist(lambda: self._folder.write_state(self._state, is_durable=False))
        for outcome, _ in answers:
            self._metrics.count(outcome)

    async def _end(self, status: Status, entries: list[Entry]) -> None:
        """End the batch; lines that were not judged are told so, each by itself."""
        if status in _UNANSWERED:
            outcome, code, message = _UNANSWERED[status]
            taken = await self._insist(self._results.take_up)
            left = [entry for entry in entries if entry.line not in taken.lines]
            for begin in range(0, len(left), _LAST_LINES_AT_ONCE):
                some = left[begin : begin + _LAST_LINES_AT_ONCE]
                await self._write(
                    [(outcome, unanswered_line(entry, code, message)) for entry in some]
                )
        await self._finish(status)

    async def _finish(self, status: Status, **changes: object) -> None:
        now_s = int(self._clock_s())
        cancelling_s = await self._insist(self._folder.cancel_asked_unix_s)
        self._state = self._state.model_copy(
            update={
                "status": status,
                "ended_unix_s": now_s,
                "cancelling_unix_s": cancelling_s,
                **changes,
            }
        )
        await self._insist(lambda: self._folder.write_state(self._state, is_durable=True))
        await self._insist(self._folder.drop_input)
        _log.info(
            "batch ended",
            batch=self._folder.id,
            status=status.value,
            total=self._state.total,
            completed=self._state.completed,
            failed=self._state.failed,
        )

    async def _insist(self, work: Callable[[], _Result]) -> _Result:
        """Do what needs the disk, in a thread, again and again until the disk lets it."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                result = await asyncio.to_thread(work)
            except OSError as error:
                self._trouble = "storage"
                _log.error("batch waits for the disk", batch=self._folder.id, reason=str(error))
            else:
                if self._trouble == "storage":
                    self._trouble = None
                return result
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
