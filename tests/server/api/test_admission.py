import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.admission import MAX_RETRY_AFTER_S, Admission, Turn
from server.api.app import create_app
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine, even_answer
from server.errors import QueueFullError
from server.settings import Settings

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def come(turn: Turn, patience_s: float | None = None) -> None:
    if not turn.ask(patience_s=patience_s):
        await turn.wait()


def waiting(turn: Turn) -> asyncio.Task[None]:
    return asyncio.create_task(come(turn))


async def test_turns_are_given_in_order_and_no_more_than_may_run() -> None:
    admission = Admission(max_running=2, max_waiting=3)
    turns = [admission.turn() for _ in range(5)]
    tasks = [waiting(turn) for turn in turns]
    await settle()
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    assert (admission.running, admission.waiting) == (2, 3)
    turns[1].end()
    await settle()
    assert [task.done() for task in tasks] == [True, True, True, False, False]
    for turn in turns:
        turn.end()
    await asyncio.gather(*tasks)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_one_more_is_refused_at_once_and_costs_no_place() -> None:
    admission = Admission(max_running=1, max_waiting=1)
    first, second, third = (admission.turn() for _ in range(3))
    await come(first)
    task = waiting(second)
    await settle()
    with pytest.raises(QueueFullError):
        await come(third)
    third.end()
    assert (admission.running, admission.waiting) == (1, 1)
    first.end()
    await task
    second.end()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_whoever_gives_up_leaves_the_queue() -> None:
    admission = Admission(max_running=1, max_waiting=2)
    first, second, third = (admission.turn() for _ in range(3))
    await come(first)
    tasks = [waiting(second), waiting(third)]
    await settle()
    tasks[0].cancel()
    second.end()
    first.end()
    await tasks[1]
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_turn_that_came_too_late_goes_to_the_next() -> None:
    admission = Admission(max_running=1, max_waiting=2)
    first, second, third = (admission.turn() for _ in range(3))
    await come(first)
    tasks = [waiting(second), waiting(third)]
    await settle()
    first.end()  # the second's turn comes, and in the same moment
    tasks[0].cancel()
    second.end()
    await tasks[1]
    assert (admission.running, admission.waiting) == (1, 0)
    third.end()
    third.end()
    assert (admission.running, admission.waiting) == (0, 0)


async def stay(admission: Admission, clock: Clock, seconds: float) -> None:
    turn = admission.turn()
    await come(turn)
    clock.now_s += seconds
    turn.end()


async def refusal(admission: Admission) -> float:
    with pytest.raises(QueueFullError) as refused:
        await come(admission.turn())
    return refused.value.retry_after_s


async def test_the_time_to_come_back_is_measured() -> None:
    clock = Clock()
    admission = Admission(max_running=2, max_waiting=0, clock_s=clock)
    for _ in range(200):
        first, second = admission.turn(), admission.turn()
        for turn in (first, second):
            await come(turn)
        clock.now_s += 0.25
        first.end()
        clock.now_s += 0.25
        second.end()
    assert admission.calls_per_s == pytest.approx(4.0)
    assert admission.expected_stay_s == pytest.approx(0.5)
    for _ in range(2):
        await come(admission.turn())
    # Two at work, four in a second: the next place is free in a quarter of a second.
    assert await refusal(admission) == pytest.approx(0.25)


@pytest.mark.parametrize("together", [1, 2, 4])
async def test_a_house_that_fills_does_not_seem_quicker(together: int) -> None:
    """The engine does eight a second, whether one waits for it or four do."""
    clock = Clock()
    admission = Admission(max_running=4, max_waiting=0, clock_s=clock)
    turns: list[Turn] = []
    for _ in range(100):
        while len(turns) < together:
            turns.append(admission.turn())
            await come(turns[-1])
        clock.now_s += 0.125
        turns.pop(0).end()
    assert admission.calls_per_s == pytest.approx(8.0, rel=0.1)


async def test_calls_that_are_cut_short_do_not_make_others_seem_quick() -> None:
    clock = Clock()
    admission = Admission(max_running=1, max_waiting=1, clock_s=clock)
    await stay(admission, clock, 1.0)
    for _ in range(50):
        turn = admission.turn()
        await come(turn)
        clock.now_s += 0.01
        turn.end(is_cut_short=True)
    assert admission.calls_per_s == pytest.approx(1.0)


async def test_a_turn_that_comes_too_late_is_given_back() -> None:
    clock = Clock()
    admission = Admission(max_running=1, max_waiting=1, clock_s=clock)
    await stay(admission, clock, 1.0)
    turn = admission.turn()
    await come(turn)
    turn.require_time(None)
    turn.require_time(2.0)
    with pytest.raises(QueueFullError):
        turn.require_time(0.9)


async def test_those_refused_together_do_not_come_back_together() -> None:
    clock = Clock()
    admission = Admission(max_running=1, max_waiting=0, clock_s=clock)
    await stay(admission, clock, 0.1)
    await come(admission.turn())
    times = [await refusal(admission) for _ in range(5)]
    assert times == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    clock.now_s += 10.0
    assert await refusal(admission) == pytest.approx(0.1)
    assert max([await refusal(admission) for _ in range(1_000)]) <= MAX_RETRY_AFTER_S


async def test_a_call_that_can_not_be_in_time_is_refused_instead_of_waiting() -> None:
    clock = Clock()
    admission = Admission(max_running=1, max_waiting=10, clock_s=clock)
    await stay(admission, clock, 1.0)
    await come(admission.turn())
    # Its turn would come in a second; another second and it would be done, a little late.
    for patience_s in (0.5, 1.5, 2.1, 3.9):
        with pytest.raises(QueueFullError):
            await come(admission.turn(), patience_s=patience_s)
    patient = asyncio.create_task(come(admission.turn(), patience_s=5.0))
    await settle()
    assert admission.waiting == 1
    patient.cancel()


async def test_nobody_waits_longer_than_anyone_is_to_wait() -> None:
    clock = Clock()
    admission = Admission(max_running=1, max_waiting=10, max_wait_s=2.5, clock_s=clock)
    await stay(admission, clock, 1.0)
    await come(admission.turn())
    waiters = [waiting(admission.turn()) for _ in range(2)]
    await settle()
    with pytest.raises(QueueFullError):
        await come(admission.turn())
    assert admission.waiting == 2
    for waiter in waiters:
        waiter.cancel()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["come", "end", "cancel"]), st.integers(0, 7))))
def test_no_place_is_ever_lost_or_made(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        admission = Admission(max_running=2, max_waiting=3)
        turns: dict[int, tuple[Turn, asyncio.Task[None]]] = {}
        for kind, who in steps:
            if kind == "come" and who not in turns:
                turn = admission.turn()
                turns[who] = (turn, waiting(turn))
            elif kind == "end" and who in turns:
                turn, task = turns.pop(who)
                task.cancel()
                turn.end()
            elif kind == "cancel" and who in turns:
                turns[who][1].cancel()
            if who % 2:
                await settle()
            assert 0 <= admission.running <= 2
            assert 0 <= admission.waiting <= 3
            assert admission.waiting == 0 or admission.running == 2
        await settle()
        for turn, task in turns.values():
            task.cancel()
            turn.end()
        await asyncio.gather(*(task for _, task in turns.values()), return_exceptions=True)
        assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(run())


class SlowEngine(StubEngine):
    """Answers when it is let; counts what is being asked and what was given up."""

    def __init__(self) -> None:
        super().__init__(even_answer)
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Event()
        self.asking = 0
        self.given_up = 0

    async def ask(self, question: Question) -> Answer:
        self.asking += 1
        self.asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.asking -= 1
        return await super().ask(question)


async def unread() -> AsyncIterator[bytes]:
    pytest.fail("the body was read")
    yield b""


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/chat/completions"])
async def test_over_capacity_a_call_is_refused_unread(connect: Connect, path: str) -> None:
    engine = SlowEngine()
    async with connect(engine=engine, max_running_calls=1, max_waiting_calls=0) as client:
        first = asyncio.create_task(client.post("/v1/moderations", json={"input": "a lake"}))
        await engine.asked.wait()
        refused = await client.post(path, content=unread())
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= MAX_RETRY_AFTER_S
        retry_ms = int(refused.headers["retry-after-ms"])
        assert 0 < retry_ms <= int(refused.headers["retry-after"]) * 1000
        for free in ("/livez", "/v1/models"):
            assert (await client.get(free)).status_code == 200
        lines = (await client.get("/metrics")).text.splitlines()
        assert 'sightward_refusals_total{reason="queue_full"} 1.0' in lines
        assert "sightward_calls_running 1.0" in lines
        assert "sightward_calls_waiting 0.0" in lines
        engine.may_answer.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/moderations", json={"input": "a"})).status_code == 200


async def test_what_waits_is_answered_in_the_end(connect: Connect) -> None:
    engine = SlowEngine()
    async with connect(engine=engine, max_running_calls=2, max_waiting_calls=6) as client:
        calls = [
            asyncio.create_task(client.post("/v1/moderations", json={"input": f"lake {number}"}))
            for number in range(10)
        ]
        await engine.asked.wait()
        await settle()
        assert engine.asking <= 2 * 4  # questions: at most four of each of two calls
        engine.may_answer.set()
        statuses = sorted([(await call).status_code for call in calls])
    assert statuses == [200] * 8 + [429] * 2


@pytest.mark.parametrize("state", ["starting", "draining"])
async def test_while_starting_or_draining_a_call_is_refused_unread(state: str) -> None:
    class NeverStarts(StubEngine):
        async def start(self) -> None:
            await asyncio.Event().wait()

    engine = NeverStarts() if state == "starting" else StubEngine()
    app = create_app(Settings(), engine=engine)
    async with app.router.lifespan_context(app):
        if state == "draining":
            await app.state.services.engine_host.settled()
            app.state.services.lifecycle.drain()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            refused = await client.post("/v1/moderations", content=unread())
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    assert "retry-after-ms" in refused.headers


async def test_what_waits_when_draining_begins_is_refused_retryably(connect: Connect) -> None:
    engine = SlowEngine()
    app = create_app(Settings(max_running_calls=1), engine=engine)
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            first, *others = [
                asyncio.create_task(client.post("/v1/moderations", json={"input": "a"}))
                for _ in range(4)
            ]
            await engine.asked.wait()
            await settle()
            app.state.services.lifecycle.drain()
            engine.may_answer.set()
            assert (await first).status_code == 200
            assert [(await call).status_code for call in others] == [503] * 3


class Caller:
    """Calls the app as a server does, and can leave."""

    def __init__(self, app: object, body: bytes = b'{"input": "a lake"}', **headers: str) -> None:
        self.statuses: list[int] = []
        self.left = asyncio.Event()
        self.reads = itertools.count()
        self.body = body
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/moderations",
            "raw_path": b"/v1/moderations",
            "query_string": b"",
            "scheme": "http",
            "server": ("test", 80),
            "headers": [
                (b"content-type", b"application/json"),
                *(
                    (key.replace("_", "-").encode(), value.encode())
                    for key, value in headers.items()
                ),
            ],
        }
        self.task = asyncio.create_task(app(scope, self.receive, self.send))  # type: ignore[operator]

    async def receive(self) -> dict[str, object]:
        if next(self.reads) == 0:
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])  # type: ignore[arg-type]


async def test_a_client_that_leaves_costs_no_engine_time() -> None:
    engine = SlowEngine()
    app = create_app(Settings(max_running_calls=1), engine=engine)
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        judged, queued = Caller(app), Caller(app)
        await engine.asked.wait()
        asked = engine.asking
        assert asked > 0

        queued.left.set()
        await queued.task
        assert queued.statuses == []
        assert engine.asking == asked

        judged.left.set()
        await judged.task
        assert judged.statuses == []
        assert (engine.asking, engine.given_up) == (0, asked)

        engine.may_answer.set()
        after = Caller(app)
        await after.task
        assert after.statuses == [200]


async def test_a_body_that_does_not_come_gives_its_turn_up(connect: Connect) -> None:
    async def trickling() -> AsyncIterator[bytes]:
        yield b'{"input": '
        await asyncio.Event().wait()

    async with connect(max_running_calls=1, body_timeout_s=0.05) as client:
        headers = {"content-type": "application/json"}
        late = await client.post("/v1/moderations", content=trickling(), headers=headers)
        assert late.status_code == 408, late.text
        assert late.json()["error"]["code"] == "body_timeout"
        assert (await client.post("/v1/moderations", json={"input": "a"})).status_code == 200


async def test_a_slow_answer_is_no_slow_body() -> None:
    engine = SlowEngine()
    app = create_app(Settings(body_timeout_s=0.01), engine=engine)
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        caller = Caller(app)
        await engine.asked.wait()
        _, still_waiting = await asyncio.wait([caller.task], timeout=0.05)
        assert still_waiting
        engine.may_answer.set()
        await caller.task
    assert caller.statuses == [200]
