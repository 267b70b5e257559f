"""What may pass is tried again, what can't is said at once, and no secret is ever repeated."""

import asyncio
import logging
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
from stamina.instrumentation import RetryDetails

from server.engine.protocol import Prompt, Question, Sampling
from server.engine.remote import Patience, RemoteEngine
from server.errors import EngineStartError, EngineUnavailableError, UnusableAnswerError

QUESTION = Question("Is it?", ("yes", "no"))
KEY = "sk-very/secret-0123456789"


class Retries:
    """The waits before every retry, in seconds, and an event set by the first."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.scheduled = asyncio.Event()

    def __call__(self, details: RetryDetails) -> None:
        self.waits_s.append(details.wait_for)
        self.scheduled.set()


@pytest.fixture
def retries() -> Iterator[Retries]:
    before = stamina.instrumentation.get_on_retry_hooks()
    retries = Retries()
    stamina.instrumentation.set_on_retry_hooks([retries])
    yield retries
    stamina.instrumentation.set_on_retry_hooks(before)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_what_may_pass_is_tried_again(openai_server: Any, remote: Any, status: int) -> None:
    engine = await remote()
    openai_server.script = [openai_server.fail(status), openai_server.fail(status)]
    assert (await engine.ask(QUESTION)).option_mass["yes"] == 1.0
    assert len(openai_server.chats) == 3


async def test_a_broken_connection_is_tried_again(openai_server: Any, remote: Any) -> None:
    engine = await remote()
    openai_server.script = [openai_server.drop()]
    assert (await engine.ask(QUESTION)).option_mass["yes"] == 1.0
    assert len(openai_server.chats) == 2


async def test_an_error_within_a_success_is_read_by_its_own_status(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    busy = b'{"error": {"code": 502, "message": "the provider is busy"}}'
    openai_server.script = [openai_server.send(200, busy)]
    assert (await engine.ask(QUESTION)).option_mass["yes"] == 1.0
    refused = b'{"error": {"code": 400, "message": "no such picture"}, "choices": null}'
    openai_server.script = [openai_server.send(200, refused)]
    with pytest.raises(UnusableAnswerError, match="no such picture"):
        await engine.ask(QUESTION)


@pytest.mark.parametrize("act", ["ask", "ask_all", "write_all"])
async def test_retries_end_and_the_endpoint_is_unavailable(
    openai_server: Any, remote: Any, act: str
) -> None:
    engine = await remote(patience=Patience(attempts=3), max_concurrency=1)
    openai_server.answer = lambda chat: openai_server.fail(503, "overloaded")
    with pytest.raises(EngineUnavailableError, match=r"answers 503: overloaded \(3 attempts\)"):
        await perform(engine, act)
    assert len(openai_server.chats) == 3


async def perform(engine: RemoteEngine, act: str) -> Any:
    if act == "write_all":
        return await engine.write_all([Prompt("a"), Prompt("b")], Sampling())
    return await (engine.ask(QUESTION) if act == "ask" else engine.ask_all([QUESTION] * 2))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, None, "wants a key"),
        (402, None, "wants to be paid"),
        (403, None, "does not let this key use"),
        (404, None, "has no model"),
        (429, "insufficient_quota", "quota"),
        (307, None, "points to another address"),
    ],
)
@pytest.mark.parametrize("act", ["ask", "ask_all", "write_all"])
async def test_what_hits_every_question_is_said_at_once(
    openai_server: Any, remote: Any, act: str, status: int, code: str | None, said: str
) -> None:
    engine = await remote(max_concurrency=1)
    openai_server.answer = lambda chat: openai_server.fail(status, "tiny", code=code)
    with pytest.raises(EngineUnavailableError, match=said):
        await perform(engine, act)
    assert len(openai_server.chats) == 1


@pytest.mark.parametrize("status", [400, 413, 418, 422, 501])
async def test_a_question_that_is_turned_down_is_not_asked_again(
    openai_server: Any, remote: Any, status: int
) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.fail(status)
    with pytest.raises(UnusableAnswerError):
        await engine.ask(QUESTION)
    assert len(openai_server.chats) == 1


def first_token(fields: str) -> bytes:
    logprobs = f'{{"content": [{{{fields}}}]}}'
    return f'{{"choices": [{{"message": {{}}, "logprobs": {logprobs}}}]}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in first</html>",
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": ["Yes"]}}]}',
        first_token('"token": "Yes"'),
        first_token('"token": "Yes", "logprob": NaN'),
        first_token('"token": "Yes", "logprob": 3'),
    ],
)
async def test_a_malformed_answer_is_no_answer(
    openai_server: Any, remote: Any, body: bytes
) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.send(200, body)
    with pytest.raises(UnusableAnswerError, match="sent no chat completion"):
        await engine.ask(QUESTION)
    assert len(openai_server.chats) == 1


async def test_the_wait_that_is_asked_for_is_waited(
    openai_server: Any, remote: Any, retries: Retries
) -> None:
    engine = await remote()
    with stamina.set_testing(False):
        openai_server.script = [openai_server.fail(429, headers={"retry-after-ms": "2"})]
        assert (await engine.ask(QUESTION)).option_mass["yes"] == 1.0
    assert retries.waits_s == [0.002]


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "41"},
        {
            "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            "retry-after": "Wed, 21 Oct 2026 07:28:41 GMT",
        },
    ],
)
async def test_a_long_wait_is_scheduled_as_asked(
    openai_server: Any, remote: Any, retries: Retries, headers: dict[str, str]
) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.fail(503, headers=headers)
    with stamina.set_testing(False):
        asked = asyncio.ensure_future(engine.ask(QUESTION))
        async with asyncio.timeout(60):
            await retries.scheduled.wait()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
    assert retries.waits_s == [41.0]


async def test_a_wait_past_all_patience_is_not_begun(openai_server: Any, remote: Any) -> None:
    engine = await remote(patience=Patience(total_s=60))
    openai_server.answer = lambda chat: openai_server.fail(429, headers={"retry-after": "3600"})
    with stamina.set_testing(False), pytest.raises(EngineUnavailableError, match="wait 3600 s"):
        await engine.ask(QUESTION)
    assert len(openai_server.chats) == 1


@pytest.mark.parametrize(
    ("patience", "said"),
    [
        (Patience(silence_s=0.05, attempts=2), "was silent for 0.05 s"),
        (Patience(attempt_s=0.05, attempts=2), "no whole answer within 0.05 s"),
    ],
)
async def test_a_silent_endpoint_is_given_up(
    openai_server: Any, remote: Any, patience: Patience, said: str
) -> None:
    silent = await remote(patience=Patience(attempts=2))
    silent._session.endpoint._patience = patience
    silent._session.endpoint._client.timeout = patience.silence_s
    openai_server.answer = lambda chat: openai_server.hold()
    with pytest.raises(EngineUnavailableError, match=said):
        await silent.ask(QUESTION)
    assert len(openai_server.chats) == 2


async def test_an_address_where_nothing_listens_is_said_at_once(quick_retries: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        engine = RemoteEngine(f"http://127.0.0.1:{port}/v1", "tiny")
        with pytest.raises(EngineStartError, match=f"no connection to 127.0.0.1:{port}"):
            await engine.start()


@pytest.mark.parametrize("base_url", ["", "api.example/v1", "ftp://api.example", "http://"])
async def test_what_is_no_web_address_is_refused(base_url: str) -> None:
    with pytest.raises(EngineStartError, match="address"):
        await RemoteEngine(base_url, "tiny").start()


@pytest.mark.parametrize("key", ["sk-läuft", "sk-\x00", "one\ntwo"])
async def test_a_key_that_no_header_can_carry_is_refused_unseen(
    openai_server: Any, key: str
) -> None:
    with pytest.raises(EngineStartError, match="characters that no key has") as caught:
        await RemoteEngine(openai_server.base_url, "tiny", api_key=key).start()
    assert key not in str(caught.value)


async def test_the_key_is_sent_as_a_bearer_token_without_its_line_end(
    openai_server: Any, remote: Any
) -> None:
    openai_server.key = KEY
    engine = await remote(api_key=f"{KEY}\n")
    await engine.ask(QUESTION)
    assert openai_server.chats[0].headers["authorization"] == f"Bearer {KEY}"


async def test_credentials_in_the_address_are_sent_as_basic_authentication(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote(base_url=openai_server.base_url.replace("//", "//me:pass@"))
    await engine.ask(QUESTION)
    assert openai_server.chats[0].headers["authorization"] == "Basic bWU6cGFzcw=="


async def test_the_addresses_query_is_kept(openai_server: Any, remote: Any) -> None:
    engine = await remote(base_url=openai_server.base_url + "/chat/completions/?api-version=7")
    await engine.ask(QUESTION)
    (chat,) = openai_server.chats
    assert (chat.path, chat.query) == ("/v1/chat/completions", "api-version=7")


@pytest.mark.parametrize(
    "failure",
    [
        lambda server: server.fail(401, f"Incorrect API key provided: {KEY}"),
        lambda server: server.fail(403, f"{KEY} may not"),
        lambda server: server.fail(400, f"what is {KEY}"),
        lambda server: server.fail(503, f"busy with {KEY}"),
        lambda server: server.send(400, f"no JSON but {KEY}".encode()),
        lambda server: server.send(200, f'{{"choices": "{KEY}"}}'.encode()),
        lambda server: server.drop(),
        lambda server: server.fail(302, headers={"location": "http://elsewhere/v1"}),
    ],
)
@pytest.mark.parametrize("is_in_address", [False, True])
async def test_no_error_and_no_log_line_holds_a_secret(
    openai_server: Any,
    remote: Any,
    failure: Any,
    is_in_address: bool,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = KEY.replace("/", "-") if is_in_address else KEY
    options: dict[str, Any] = {"api_key": secret}
    if is_in_address:
        options = {"base_url": openai_server.base_url.replace("//", f"//me:{secret}@")}
    engine = await remote(**options, patience=Patience(attempts=2))
    reply = failure(openai_server)
    openai_server.answer = lambda chat: type(reply)(
        reply.status,
        reply.body.replace(KEY.encode(), secret.encode()),
        {name: value.replace(KEY, secret) for name, value in reply.headers.items()},
        reply.is_dropped,
    )
    with pytest.raises((EngineUnavailableError, UnusableAnswerError)) as caught:
        await engine.ask(QUESTION)
    shown = "".join(traceback.format_exception(caught.value))
    out, err = capsys.readouterr()
    for text in (str(caught.value), repr(caught.value), shown, caplog.text, out, err):
        assert secret not in text
    assert secret not in repr(engine)
    assert secret not in engine.card.version


async def test_a_redirect_takes_neither_key_nor_question_elsewhere(
    openai_server: Any, quick_retries: None
) -> None:
    elsewhere = socket.socket()
    elsewhere.bind(("127.0.0.1", 0))
    elsewhere.listen()
    elsewhere.setblocking(False)
    location = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v1/chat/completions"
    openai_server.answer = lambda chat: openai_server.fail(307, headers={"location": location})
    engine = RemoteEngine(openai_server.base_url, "tiny", api_key=KEY)
    with elsewhere:
        with pytest.raises(EngineStartError, match="redirects are not followed"):
            await engine.start()
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


async def test_a_proxy_in_the_environment_is_used_only_when_asked_for(
    openai_server: Any, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        direct = RemoteEngine(openai_server.base_url, "tiny")
        await direct.start()
        await direct.stop()
        with pytest.raises(EngineStartError, match="no connection"):
            await RemoteEngine(openai_server.base_url, "tiny", trust_env=True).start()
