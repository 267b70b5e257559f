import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from server.api.deadline import DeadlineMiddleware, seconds_left
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
BODY = {"input": "a lake"}


class StuckEngine(StubEngine):
    def __init__(self) -> None:
        super().__init__()
        self.asking = 0

    async def ask(self, question: Question) -> Answer:
        self.asking += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.asking -= 1
        raise AssertionError


def expect_late(response: httpx2.Response) -> None:
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    assert response.headers["x-should-retry"] == "false"


async def test_what_is_not_done_in_time_is_given_up_and_never_safe(connect: Connect) -> None:
    engine = StuckEngine()
    async with connect(engine=engine) as client:
        late = await client.post("/v1/moderations", json=BODY, headers={"x-request-timeout": "0.2"})
        expect_late(late)
        assert "results" not in late.json()
        assert engine.asking == 0


async def test_the_server_has_a_limit_of_its_own_that_no_caller_lifts(connect: Connect) -> None:
    async with connect(engine=StuckEngine(), request_timeout_s=0.02) as client:
        for headers in ({}, {"x-request-timeout": "1000"}):
            expect_late(await client.post("/v1/moderations", json=BODY, headers=headers))


async def test_in_time_is_in_time(client: httpx2.AsyncClient) -> None:
    response = await client.post("/v1/moderations", json=BODY, headers={"x-request-timeout": "60"})
    assert response.status_code == 200


@pytest.mark.parametrize("given", ["", "0", "-1", "nan", "inf", "1e999", "1s", "soon"])
async def test_a_deadline_that_is_none_is_refused(client: httpx2.AsyncClient, given: str) -> None:
    response = await client.post("/v1/moderations", json=BODY, headers={"x-request-timeout": given})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-timeout"


async def test_waiting_for_a_turn_counts(connect: Connect) -> None:
    async with connect(engine=StuckEngine(), max_running_calls=1) as client:
        first = asyncio.create_task(client.post("/v1/moderations", json=BODY))
        await asyncio.sleep(0)
        # Whether it waits in vain or is told at once that it would.
        headers = {"x-request-timeout": "0.05"}
        late = await client.post("/v1/moderations", json=BODY, headers=headers)
        assert late.status_code in (429, 504)
        first.cancel()


async def test_an_answer_that_has_begun_may_go_on() -> None:
    sent: list[Message] = []

    async def slow_writer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        past = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, past.set)
        await past.wait()
        left_s = seconds_left(scope)
        assert left_s is not None
        assert left_s < 0
        await send({"type": "http.response.body", "body": b"all of it"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "headers": [(b"x-request-timeout", b"0.01")]}
    await DeadlineMiddleware(slow_writer, limit_s=None)(scope, receive, send)
    assert [message.get("body") for message in sent] == [None, b"all of it"]
