"""An open loop does not slow down with the server, and does not spare those who came meanwhile."""

import asyncio
import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from benchmarks.clients import work_through
from benchmarks.load.open_loop import (
    open_loop,
    poisson_arrivals_in,
    poisson_arrivals_of,
    poisson_arrivals_s,
)
from benchmarks.load.sending import Sent, end_of, send
from benchmarks.load.wire import LostError, Reply
from benchmarks.stats import percentiles

STALL_S, EVERY_S, REQUESTS = 1.0, 0.02, 100
STALLS_AT = 30


class Stalling:
    """Answers one request after another, at once; before one of them it stalls."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._numbers = itertools.count()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        async with self._turn:
            if next(self._numbers) == STALLS_AT:
                await asyncio.sleep(STALL_S)
            return Reply(200, {}, b"{}", 0.0)


async def test_a_stall_shows_in_the_open_loops_p99_and_hides_in_the_closed_ones() -> None:
    server = Stalling()

    async def ask_when_due(_: int, due_s: float) -> Sent:
        return await send(server, b"{}", give_up_s=60.0, due_s=due_s)

    arrivals_s = [number * EVERY_S for number in range(REQUESTS)]
    opened = await open_loop(ask_when_due, range(REQUESTS), arrivals_s)

    server = Stalling()

    async def ask(_: int) -> Sent:
        return await send(server, b"{}", give_up_s=60.0)

    closed = await work_through(range(REQUESTS), ask, clients=1)
    open_ms = percentiles([one.latency_ms for one in opened])
    assert open_ms is not None

    # Fifty were due while it stalled; they waited half a second on average, the first all of it.
    stalled = sorted(one.latency_ms for one in opened)[-int(STALL_S / EVERY_S) :]
    assert open_ms.p99 >= 1000 * (STALL_S - 2 * EVERY_S)
    assert np.mean(stalled) >= 0.45 * 1000 * STALL_S
    # The one client that waited met the stall once in a hundred requests.
    assert sum(one.latency_ms >= 900 * STALL_S for one in closed) < 5
    assert sum(one.latency_ms >= 400 * STALL_S for one in opened) >= 25


async def test_what_a_late_generator_costs_is_counted() -> None:
    async def ask(_: int, due_s: float) -> Sent:
        return await send(Stalling(), b"", give_up_s=60.0, due_s=due_s - 5.0)

    (sent,) = await open_loop(ask, [0], [0.0])

    assert sent.latency_ms >= 5000.0
    assert sent.service_ms < 5000.0


async def test_who_is_not_answered_in_time_is_cancelled() -> None:
    class Never:
        async def request(self, *_: object) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

    sent = await send(Never(), b"", give_up_s=0.01)
    late = await send(Never(), b"", give_up_s=10.0, due_s=sent.due_s - 20.0)

    assert (sent.end, sent.code) == ("cancelled", "gave_up")
    assert late.end == "cancelled"  # it was due too long ago to be sent at all


@pytest.mark.parametrize(("is_sent", "code"), [(True, "broken_off"), (False, "not_connected")])
async def test_a_broken_connection_is_an_error(is_sent: bool, code: str) -> None:
    class Broken:
        async def request(self, *_: object) -> Reply:
            raise LostError("gone", is_sent=is_sent)

    sent = await send(Broken(), b"", give_up_s=1.0)

    assert (sent.end, sent.code) == ("error", code)


@pytest.mark.parametrize(
    ("status", "headers", "end"),
    [
        (200, {}, "ok"),
        (429, {}, "refused"),
        (503, {"retry-after": "1"}, "refused"),
        (503, {}, "error"),
        (504, {}, "cancelled"),
        (400, {}, "error"),
        (500, {}, "error"),
    ],
)
async def test_how_a_request_ended(status: int, headers: dict[str, str], end: str) -> None:
    class Fixed:
        async def request(self, *_: object) -> Reply:
            return Reply(status, headers, b'{"error": {"code": "why", "type": "t"}}', 0.0)

    sent = await send(Fixed(), b"", give_up_s=1.0)

    assert end_of(status, headers) == sent.end == end
    assert sent.code == (None if end == "ok" else "why")


def test_arrivals_are_random_at_the_rate_asked_for_and_the_same_for_a_seed() -> None:
    times = poisson_arrivals_of(4000, 50.0, seed=1)
    gaps = np.diff(times)

    assert len(times) == 4000
    assert times[-1] == pytest.approx(80.0, rel=0.1)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.1)  # exponential
    assert times == poisson_arrivals_of(4000, 50.0, seed=1)
    assert max(poisson_arrivals_s(50.0, 10.0, seed=2)) < 10.0


def test_a_short_trial_has_the_rate_that_was_meant() -> None:
    times = poisson_arrivals_in(600, 3.0, seed=(3, 1))
    gaps = np.diff(times)

    assert len(times) == 600
    assert 0.0 <= min(times) <= max(times) < 3.0
    assert times == sorted(times)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.15)
