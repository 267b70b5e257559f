"""What wraps every request: its record, its key, its body's size.

Plain ASGI, so that bodies are never held back and a refusal costs nothing: the key is checked
before a byte of the body is read, and the body's size while it arrives.
"""

import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.errors import error_response
from server.api.request_record import attach_record
from server.errors import ApiKeyError, BodyBytesError
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
        route = scope.get("route")
        if route is not None:
            record.route = route.path
        self._metrics.requests.labels(record.route, str(record.status)).inc()
        record.log(failure)


class ApiKeyMiddleware:
    """Lets requests below `prefix` in only with one of `keys`; without keys everyone is let in.

    Probes and metrics stay open: whoever runs the service keeps them off the public network.
    """

    def __init__(self, app: ASGIApp, *, keys: Sequence[str], prefix: str) -> None:
        self._app = app
        self._digests = tuple(_digest(key) for key in keys)
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        is_guarded = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        if is_guarded and self._digests and not self._is_known(Headers(scope=scope)):
            await error_response(scope, ApiKeyError())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = _digest(key.strip())
        # Digests have one length and all keys are compared, so the time tells nothing of either.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == "bearer" and any(matches)


class BodyLimitMiddleware:
    """Refuses bodies over `limit_bytes`: at once when the length is declared, else on the way."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._limit_bytes:
            error = BodyBytesError(limit_bytes=self._limit_bytes)
            await error_response(scope, error)(scope, receive, send)
            return
        got_bytes = 0

        async def receive_counted() -> Message:
            nonlocal got_bytes
            message = await receive()
            got_bytes += len(message.get("body", b""))
            if got_bytes > self._limit_bytes:
                raise BodyBytesError(limit_bytes=self._limit_bytes)
            return message

        await self._app(scope, receive_counted, send)


def _request_id(given: str | None) -> str:
    if given is not None and _SOUND_REQUEST_ID.fullmatch(given):
        return given
    return f"req-{uuid.uuid4().hex}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
