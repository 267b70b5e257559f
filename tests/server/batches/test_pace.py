"""Batches come after everyone who waits for an answer, and after each other."""

import asyncio
from dataclasses import dataclass

import pytest

from server.batches.pace import Pace


@dataclass
class Busy:
    running: int = 0
    waiting: int = 0


def never() -> bool:
    return False


async def begun(pace: Pace, lines: int) -> int:
    """How many of so many lines may begin now."""
    tasks = [asyncio.create_task(pace.turn(never)) for _ in range(lines)]
    for _ in range(3 * lines):
        await asyncio.sleep(0)
    count = sum(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return count


@pytest.mark.parametrize(
    ("load", "is_open", "expected"),
    [
        (Busy(), True, 3),
        (Busy(running=1), True, 1),
        (Busy(running=64, waiting=1), True, 0),
        (Busy(), False, 0),
    ],
    ids=["idle", "calls run", "calls wait", "no model"],
)
async def test_lines_begin_as_the_load_lets_them(load: Busy, is_open: bool, expected: int) -> None:
    assert await begun(Pace(load, is_open=lambda: is_open, at_once=3), 5) == expected


async def test_a_line_that_ends_lets_the_next_begin() -> None:
    pace = Pace(Busy(), is_open=lambda: True, at_once=1)
    assert await pace.turn(never)
    waiting = asyncio.create_task(pace.turn(never))
    assert await begun(pace, 1) == 0
    pace.done()
    assert await waiting
    assert pace.running == 1


async def test_lines_go_on_when_calls_are_through() -> None:
    load = Busy(waiting=1)
    pace = Pace(load, is_open=lambda: True, at_once=1)
    waiting = asyncio.create_task(pace.turn(never))
    assert await begun(pace, 1) == 0
    load.waiting = 0
    assert await waiting


async def test_whoever_gives_up_keeps_nobody_behind_it_waiting() -> None:
    pace = Pace(Busy(), is_open=lambda: True, at_once=1)
    assert not await pace.turn(lambda: True)
    assert pace.running == 0
    assert await pace.turn(never)


async def test_batches_take_turns() -> None:
    pace = Pace(Busy(), is_open=lambda: True, at_once=1)
    order: list[str] = []

    async def batch(name: str, lines: int) -> None:
        for _ in range(lines):
            assert await pace.turn(never)
            order.append(name)
            await asyncio.sleep(0)
            pace.done()

    await asyncio.gather(batch("large", 6), batch("small", 2))
    assert "".join(name[0] for name in order).startswith("lsls")
