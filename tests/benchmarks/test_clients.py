import asyncio

import pytest

from benchmarks.clients import work_through


async def test_answers_come_in_the_order_of_the_items() -> None:
    async def ask(item: int) -> int:
        for _ in range(5 - item):  # later items are answered sooner
            await asyncio.sleep(0)
        return item * item

    assert await work_through([0, 1, 2, 3, 4], ask, clients=5) == [0, 1, 4, 9, 16]


async def test_no_more_clients_than_asked_for_are_at_work() -> None:
    at_work = 0
    most = 0

    async def ask(item: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1

    await work_through(range(20), ask, clients=3)

    assert most == 3


async def test_each_answer_is_reported_once() -> None:
    reported = 0

    def on_answer() -> None:
        nonlocal reported
        reported += 1

    async def ask(item: int) -> int:
        return item

    await work_through(range(7), ask, clients=2, on_answer=on_answer)

    assert reported == 7


async def test_the_first_error_is_raised_as_it_is_and_ends_the_rest() -> None:
    asked = []

    async def ask(item: int) -> None:
        asked.append(item)
        await asyncio.sleep(0)
        if item == 1:
            raise LookupError("one")

    with pytest.raises(LookupError, match="one"):
        await work_through(range(100), ask, clients=2)

    assert len(asked) < 10


async def test_nothing_to_do_gives_nothing() -> None:
    async def ask(item: int) -> int:
        return item

    assert await work_through([], ask, clients=4) == []
