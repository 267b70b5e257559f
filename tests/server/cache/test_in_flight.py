import asyncio

import pytest

from server.cache.in_flight import InFlight


class Work:
    """Counts how often it is begun and given up; ends when told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.given_up = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return f"result {self.begun}"


async def let_run() -> None:
    """Give every task that can go on several turns."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_same_is_done_once_for_all_who_ask_meanwhile() -> None:
    flights, work = InFlight[str](), Work()
    asking = [asyncio.create_task(flights.do("a", work)) for _ in range(5)]
    await let_run()
    work.may_end.set()
    landed = await asyncio.gather(*asking)
    assert work.begun == 1
    assert {one.result for one in landed} == {"result 1"}
    assert [one.was_joined for one in landed] == [False, True, True, True, True]
    assert len(flights) == 0


async def test_different_things_are_done_apart_and_the_same_again_later() -> None:
    flights, work = InFlight[str](), Work()
    work.may_end.set()
    await asyncio.gather(flights.do("a", work), flights.do("b", work))
    await flights.do("a", work)
    assert work.begun == 3


@pytest.mark.parametrize("leaves", [0, 1, 2])
async def test_one_who_leaves_takes_nothing_from_the_others(leaves: int) -> None:
    flights, work = InFlight[str](), Work()
    asking = [asyncio.create_task(flights.do("a", work)) for _ in range(3)]
    await let_run()
    asking.pop(leaves).cancel()
    await let_run()
    work.may_end.set()
    assert [one.result for one in await asyncio.gather(*asking)] == ["result 1"] * 2
    assert work.given_up == 0


async def test_with_the_last_one_the_work_is_given_up_and_nobody_joins_it_any_more() -> None:
    flights, work = InFlight[str](), Work()
    asking = [asyncio.create_task(flights.do("a", work)) for _ in range(2)]
    await let_run()
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    work.may_end.set()
    assert (await flights.do("a", work)).result == "result 2"
    assert (work.begun, work.given_up) == (2, 1)


async def test_a_failure_is_everyones_and_is_not_kept() -> None:
    flights = InFlight[str]()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def succeed() -> str:
        return "fine"

    failures = await asyncio.gather(
        *(flights.do("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(one) for one in failures] == [ValueError] * 3
    assert (await flights.do("a", succeed)).result == "fine"
