"""What wraps every request: its record and its body's size.

Plain ASGI, so that bodies are never held back and a refusal costs nothing: the size is checked
while the body arrives, and the time that it takes.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.errors import error_response
from server.api.request_record import attach_record
from server.errors import BodyBytesError, BodyTimeoutError
from server.telemetry import Metrics, RequestRecord

_SOUND_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CLIENT_CLOSED_REQUEST = 499
"""Logged and counted, never sent: nobody is left to read it."""


class RecordMiddleware:
    """Outermost: gives a request its id, counts and logs it, and answers what nobody caught.

    A caller's own ``x-request-id`` is kept if it is harmless in a log, and every answer carries it.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(
            request_id=_request_id(Headers(scope=scope).get("x-request-id")),
            method=scope["method"],
        )
        attach_record(scope, record)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.request_id
            await send(message)

        began_s = time.perf_counter()
        failure: Exception | None = None
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                record.status = _CLIENT_CLOSED_REQUEST
            except Exception as error:
                # The last stop before the framework's own plain-text 500.
                failure = error
                if record.status == 0:
                    await error_response(scope, error)(scope, receive, send_with_id)
        record.duration_ms = (time.perf_counter() - began_s) * 1000
        record.route = _route(scope) or record.route
        self._metrics.requests.labels(record.route, str(record.status)).inc()
        record.log(failure)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, and how long it may take to arrive."""

    limit_bytes: int
    limit_s: float


class BodyLimitMiddleware:
    """Refuses bodies over `limit_bytes`: at once when the length is declared, else on the way.

    And those that take longer than `limit_s`: their senders would keep others from their turns.
    Paths in `others` have limits of their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit_bytes: int,
        limit_s: float,
        others: Mapping[str, BodyLimits] | None = None,
    ) -> None:
        self._app = app
        self._limits = BodyLimits(limit_bytes, limit_s)
        self._others = others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = self._others.get(scope.get("path", ""), self._limits)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limits.limit_bytes:
            error = BodyBytesError(limit_bytes=limits.limit_bytes)
            await error_response(scope, error)(scope, receive, send)
            return
        got_bytes = 0
        ends_s: float | None = asyncio.get_running_loop().time() + limits.limit_s

        async def receive_counted() -> Message:
            nonlocal got_bytes, ends_s
            if ends_s is None:
                # A timeout knows its task, which would know it by this frame when it is cancelled:
                # a ring of fifty objects a call, for the garbage collector.
                return await receive()
            try:
                async with asyncio.timeout_at(ends_s) as wait:
                    message = await receive()
            except TimeoutError as error:
                if not wait.expired():
                    raise
                raise BodyTimeoutError(timeout_s=limits.limit_s) from error
            if not message.get("more_body", False):
                ends_s = None  # what is waited for now is that the client leaves
            got_bytes += len(message.get("body", b""))
            if got_bytes > limits.limit_bytes:
                raise BodyBytesError(limit_bytes=limits.limit_bytes)
            return message

        await self._app(scope, receive_counted, send)


def _route(scope: Scope) -> str | None:
    """The path of the request's route; of one without parameters also if it was refused before."""
    if (route := scope.get("route")) is not None:
        path: str = route.path
        return path
    asked: str = scope["path"]
    return (
        asked if any(getattr(one, "path", None) == asked for one in scope["app"].routes) else None
    )


def _request_id(given: str | None) -> str:
    if given is not None and _SOUND_REQUEST_ID.fullmatch(given):
        return given
    return f"req-{uuid.uuid4().hex}"
