"""A small OpenAI-compatible chat server on a real socket, for tests of whatever talks to one.

Get it from the fixture `openai_server` (in ``tests/conftest.py``); everything needed hangs on it::

    def test_something(openai_server):
        openai_server.answer = lambda chat: openai_server.say(chat.text.upper())
        judge = Judge(openai_server.base_url, model="tiny")
        ...
        assert [chat.text for chat in openai_server.chats] == [...]

`answer` is called with each `Chat`, in the server's thread, and gives a reply:

- `say(text, ...)`: a completion, with first-token probabilities where `top` is given;
- `fail(status, message, ...)`: an error in OpenAI's shape, with headers such as ``retry-after``;
- `send(status, body, ...)`: any bytes;
- `drop()`: the connection breaks within the answer;
- `hold()`: no answer until the client gives up, or `release` is called.

Replies in `script` are used up first, one a chat, whatever was asked.
"""

import asyncio
import json
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Chat:
    """One ``POST /chat/completions``."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def _parts(self) -> list[Mapping[str, Any]]:
        content = self.body["messages"][-1]["content"]
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @property
    def text(self) -> str:
        """The last turn's words."""
        return " ".join(part["text"] for part in self._parts if part["type"] == "text")

    @property
    def image_urls(self) -> list[str]:
        """The last turn's pictures."""
        return [part["image_url"]["url"] for part in self._parts if part["type"] == "image_url"]

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.body.get("logprobs"))


@dataclass(frozen=True)
class Reply:
    """What goes back; `is_dropped` promises more bytes than are sent."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_dropped: bool = False
    is_held: bool = False


class OpenAIServer:
    """Listens on 127.0.0.1 between `start` and `stop`; `reset` forgets what one test did.

    `chats` are the requests so far and `most_at_once` is how many were in flight together. `models`
    is what ``GET /models`` lists, or the reply to it; `key` is the bearer key it wants, if any;
    `meeting` makes chats wait until so many were in flight once; `forget` drops the chats so far.
    """

    def __init__(self) -> None:
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._released = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        self.answer: Callable[[Chat], Reply] = lambda chat: self.say("Yes", top={"Yes": 1.0})
        self.script: list[Reply] = []
        self.models: list[dict[str, Any]] | Reply = [{"id": "tiny", "object": "model"}]
        self.key: str | None = None
        self.meeting = 1
        self.chats: list[Chat] = []
        self._arrived = threading.Semaphore(0)
        self.model_requests = 0
        self.most_at_once = 0
        # A list, so that a chat left over from an earlier test counts down its own.
        self._in_flight: list[Chat] = []
        self.release()
        self._released = asyncio.Event()
        self._met = asyncio.Event()

    def forget(self) -> None:
        self.chats = []
        self.most_at_once = 0
        self._arrived = threading.Semaphore(0)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def port(self) -> int:
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def say(
        self,
        text: str | None,
        *,
        top: Mapping[str, float] | list[tuple[str, float]] | None = None,
        chosen: tuple[str, float] | None = None,
        finish_reason: str = "stop",
        refusal: str | None = None,
        tokens: int | None = 1,
        model: str = "tiny",
        fingerprint: str | None = None,
    ) -> Reply:
        """A completion. `top`: probabilities of first tokens; `chosen` is by default the first."""
        logprobs = None
        if top is not None:
            pairs = list(top.items() if isinstance(top, Mapping) else top)
            shown = [self.token(*pair) for pair in pairs]
            first = self.token(*chosen) if chosen else shown[0]
            logprobs = {"content": [first | {"top_logprobs": shown}]}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "system_fingerprint": fingerprint,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": refusal},
                    "finish_reason": finish_reason,
                    "logprobs": logprobs,
                }
            ],
            "usage": None if tokens is None else {"completion_tokens": tokens},
        }
        return Reply(200, json.dumps(completion).encode())

    @staticmethod
    def token(text: str, probability: float) -> dict[str, Any]:
        """One entry of `top_logprobs`."""
        logprob = math.log(probability) if probability > 0 else -9999.0
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    @staticmethod
    def fail(
        status: int,
        message: str = "no",
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """An error in OpenAI's shape."""
        error = {"message": message, "type": "some_error", "param": param, "code": code}
        return Reply(status, json.dumps({"error": error}).encode(), headers or {})

    @staticmethod
    def send(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Any bytes."""
        return Reply(status, body, headers or {})

    @staticmethod
    def drop() -> Reply:
        """The connection breaks within the answer."""
        return Reply(200, b'{"choices": [', is_dropped=True)

    @staticmethod
    def hold() -> Reply:
        """No answer until the client gives up or `release` is called; then a failure."""
        return Reply(503, is_held=True)

    async def arrival(self, chats: int = 1) -> None:
        """Return when so many chats have arrived that no earlier call waited for."""
        for _ in range(chats):
            assert await asyncio.to_thread(self._arrived.acquire, timeout=60)

    def release(self) -> None:
        """End every answer that is held."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._released.set)

    def start(self) -> None:
        is_up = threading.Event()

        class Announcing(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                is_up.set()

        config = uvicorn.Config(
            self._app,
            port=0,
            interface="asgi3",
            log_level="critical",
            access_log=False,
            lifespan="off",
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = Announcing(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        assert is_up.wait(timeout=60)

    def stop(self) -> None:
        self.release()
        self._server.should_exit = True
        self._thread.join(timeout=60)

    async def _app(self, scope: Mapping[str, Any], receive: Any, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            given = headers.get("authorization")
            await self._send(self.fail(401, f"Incorrect API key provided: {given}"), send)
        elif scope["path"].endswith("/models"):
            self.model_requests += 1
            models = self.models
            if not isinstance(models, Reply):
                models = Reply(200, json.dumps({"object": "list", "data": models}).encode())
            await self._send(models, send)
        elif scope["path"].endswith("/chat/completions"):
            query = scope["query_string"].decode()
            await self._chat(Chat(scope["path"], query, headers, json.loads(body)), receive, send)
        else:
            await self._send(Reply(404, b"nothing here"), send)

    async def _chat(self, chat: Chat, receive: Any, send: Send) -> None:
        in_flight = self._in_flight
        self.chats.append(chat)
        in_flight.append(chat)
        self._arrived.release()
        self.most_at_once = max(self.most_at_once, len(in_flight))
        try:
            if self.meeting > 1:
                if len(in_flight) >= self.meeting:
                    self._met.set()
                await self._met.wait()
            reply = self._reply_to(chat)
            if reply.is_held:
                await self._until_over(receive)
            await self._send(reply, send)
        finally:
            in_flight.remove(chat)

    def _reply_to(self, chat: Chat) -> Reply:
        if self.script:
            return self.script.pop(0)
        try:
            return self.answer(chat)
        except Exception as error:
            # A 500 would be tried again and hide the mistake in the test.
            return self.fail(418, f"the test's own answer failed: {error!r}")

    async def _until_over(self, receive: Any) -> None:
        ends = [asyncio.ensure_future(receive()), asyncio.ensure_future(self._released.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    @staticmethod
    async def _send(reply: Reply, send: Send) -> None:
        length = len(reply.body) + (10 if reply.is_dropped else 0)
        headers = {"content-type": "application/json", **reply.headers, "content-length": length}
        encoded = [(name.encode(), str(value).encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": reply.body})
