"""The work on one batch when things go wrong around it."""

import asyncio
import contextlib
import errno
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from server.batches import job as job_module
from server.batches.facts import BatchFacts, Status
from server.batches.folder import BatchFolder
from server.batches.index import Entry
from server.batches.job import BatchJob
from server.batches.judging import Answered, ComeAgainError, failed_line
from server.batches.metrics import BatchMetrics
from server.batches.pace import Pace
from server.errors import AuditLogError, EngineUnavailableError, InvalidFieldError

MakeBatch = Callable[..., BatchFolder]
Judge = Callable[[Entry], Awaitable[Answered]]


class Quiet:
    running = 0
    waiting = 0


class FakeJudge:
    """Answers by a function of the entry; `asked` are the lines it was asked, in order."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.asked: list[int] = []
        self._judge = judge

    async def answer(self, entry: Entry, facts: BatchFacts, folder: BatchFolder) -> Answered:
        del facts, folder
        self.asked.append(entry.line)
        return good(entry) if self._judge is None else await self._judge(entry)


def good(entry: Entry) -> Answered:
    value = {"custom_id": entry.custom_id, "line": entry.line, "response": {}, "error": None}
    return Answered(json.dumps(value).encode() + b"\n", is_error=False)


def job_of(
    folder: BatchFolder,
    judge: FakeJudge,
    *,
    at_once: int = 4,
    is_open: Callable[[], bool] = lambda: True,
    pauses: list[float] | None = None,
    clock_s: Callable[[], float] = lambda: 100.0,
) -> BatchJob:
    async def pause(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)
        await asyncio.sleep(0)

    return BatchJob(
        folder,
        judge,  # type: ignore[arg-type]
        Pace(Quiet(), is_open=is_open, at_once=at_once),
        BatchMetrics(CollectorRegistry()),
        max_line_bytes=10**6,
        pause=pause,
        clock_s=clock_s,
    )


def answers(folder: BatchFolder) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in folder.results.read_text().splitlines()]
    assert max(Counter(line["line"] for line in lines).values()) == 1, "answered twice"
    return {line["custom_id"]: line for line in lines}


def lines(count: int) -> list[dict[str, str]]:
    return [{"custom_id": f"t{n}", "input": "x"} for n in range(1, count + 1)]


async def test_a_line_that_kills_the_model_is_given_up_and_takes_no_other_with_it(
    make_batch: MakeBatch,
) -> None:
    folder = make_batch(*lines(9))
    lives, in_hand = [object()], 0

    async def judge(entry: Entry) -> Answered:
        nonlocal in_hand
        in_hand += 1
        model = lives[-1]
        await asyncio.sleep(0)
        in_hand -= 1
        if entry.custom_id == "t5":
            lives.append(object())  # another is started in its place
        if lives[-1] is not model:
            raise ComeAgainError(EngineUnavailableError("dead"), model)
        return good(entry)

    fake = FakeJudge(judge)
    await job_of(folder, fake).run()

    found = answers(folder)
    assert len(found) == 9
    assert [name for name, one in found.items() if one["error"]] == ["t5"]
    assert found["t5"]["error"]["code"] == "input_not_judged"
    assert fake.asked.count(5) == 1 + job_module.MAX_DEATHS
    assert max(fake.asked.count(number) for number in (1, 2, 3, 4, 6, 7, 8, 9)) <= 2
    assert folder.state().status is Status.COMPLETED
    assert (folder.state().completed, folder.state().failed) == (8, 1)


async def test_an_outage_is_waited_out_and_costs_no_line(make_batch: MakeBatch) -> None:
    folder = make_batch(*lines(5))
    refusals, model = iter(range(40)), object()

    async def judge(entry: Entry) -> Answered:
        if next(refusals, None) is not None:
            raise ComeAgainError(EngineUnavailableError("not now"), model)
        return good(entry)

    await job_of(folder, FakeJudge(judge)).run()
    assert all(one["error"] is None for one in answers(folder).values())
    assert len(answers(folder)) == 5


async def test_without_an_audit_log_it_waits_and_says_so(make_batch: MakeBatch) -> None:
    folder = make_batch(*lines(2))
    seen: list[str | None] = []

    async def judge(entry: Entry) -> Answered:
        seen.append(job.waiting_for)
        if len(seen) < 6:
            raise ComeAgainError(AuditLogError("full"), object())
        return good(entry)

    # Every refusal is by another object, as after a restart: an audit log kills nothing, though.
    job = job_of(folder, FakeJudge(judge), at_once=1)
    await job.run()
    assert seen == [None, *["audit_log"] * 5, None]
    assert job.waiting_for is None
    assert all(one["error"] is None for one in answers(folder).values())


@pytest.mark.parametrize("half", [0, 7], ids=["nothing written", "half a line written"])
async def test_a_full_disk_is_waited_out_and_loses_nothing(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, half: int
) -> None:
    folder = make_batch(*lines(6))
    failures = 3
    write = job_module.ResultsFile.append
    real_write = os.write

    def full(self: Any, texts: list[bytes]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            with monkeypatch.context() as patch:
                begun = []

                def no_space(file: int, data: bytes) -> int:
                    if half and not begun:
                        begun.append(real_write(file, bytes(data[:half])))
                        return begun[0]
                    raise OSError(errno.ENOSPC, "No space left on device")

                patch.setattr("os.write", no_space)
                write(self, texts)
        write(self, texts)

    monkeypatch.setattr(job_module.ResultsFile, "append", full)
    pauses: list[float] = []
    await job_of(folder, FakeJudge(), pauses=pauses).run()
    assert pauses == [0.5, 1.0, 2.0]
    assert len(answers(folder)) == 6
    assert folder.state().status is Status.COMPLETED


async def test_a_job_goes_on_where_a_dead_one_stopped_whatever_its_state_says(
    make_batch: MakeBatch,
) -> None:
    folder = make_batch(*lines(6))
    asked_for_the_fourth = asyncio.Event()

    async def hold_the_fourth(entry: Entry) -> Answered:
        if entry.line == 4:
            asked_for_the_fourth.set()
            await asyncio.Event().wait()
        return good(entry)

    first = FakeJudge(hold_the_fourth)
    working = asyncio.create_task(job_of(folder, first, at_once=1).run())
    await asked_for_the_fourth.wait()
    while folder.results.read_bytes().count(b"\n") < 3:
        await asyncio.to_thread(lambda: None)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    with folder.results.open("ab") as file:
        file.write(b'{"custom_id": "t4", "li')
    (folder.path / "state.json").unlink()

    second = FakeJudge()
    await job_of(folder, second).run()
    assert sorted(second.asked) == [4, 5, 6]
    assert answers(folder).keys() == {f"t{n}" for n in range(1, 7)}
    state = folder.state()
    assert (state.total, state.completed, state.failed) == (6, 6, 0)
    assert state.results_bytes == folder.results.stat().st_size


async def test_a_stopped_job_finishes_what_is_in_hand_and_leaves_the_rest(
    make_batch: MakeBatch,
) -> None:
    folder = make_batch(*lines(6))

    async def judge(entry: Entry) -> Answered:
        job.stop()
        return good(entry)

    job = job_of(folder, FakeJudge(judge), at_once=1)
    await job.run()
    assert answers(folder).keys() == {"t1"}
    assert folder.state().status is Status.IN_PROGRESS
    assert folder.input.exists()


async def test_a_batch_without_a_model_can_be_cancelled(make_batch: MakeBatch) -> None:
    folder = make_batch(*lines(3))
    folder.ask_to_cancel(99)
    judge = FakeJudge()
    await job_of(folder, judge, is_open=lambda: False).run()
    assert judge.asked == []
    assert {one["error"]["code"] for one in answers(folder).values()} == {"batch_cancelled"}
    state = folder.state()
    assert (state.status, state.cancelling_unix_s) == (Status.CANCELLED, 99)


async def test_a_batch_without_a_model_expires(make_batch: MakeBatch) -> None:
    folder = make_batch(*lines(2), expires_unix_s=200)
    clock = iter([100.0] * 5)
    job = job_of(folder, FakeJudge(), is_open=lambda: False, clock_s=lambda: next(clock, 200.0))
    await job.run()
    assert folder.state().status is Status.EXPIRED
    assert {one["error"]["code"] for one in answers(folder).values()} == {"batch_expired"}


async def test_errors_of_lines_are_counted_apart(make_batch: MakeBatch) -> None:
    folder = make_batch(*lines(4))

    async def judge(entry: Entry) -> Answered:
        if entry.line % 2:
            return failed_line(entry, InvalidFieldError("no", param="input"))
        return good(entry)

    await job_of(folder, FakeJudge(judge)).run()
    assert (folder.state().completed, folder.state().failed) == (2, 2)
    assert not folder.input.exists()
