"""How long a caller waits: its ``x-request-timeout``, in seconds, and the server's own limit.

It counts from the request's arrival to the first byte of the answer, time in the queue included.
What is not done by then is given up, for nobody would read it; an answer that is being streamed may
go on.
"""

import asyncio
import math
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.errors import error_response
from server.errors import DeadlineError, InvalidFieldError

HEADER = "x-request-timeout"
_KEY = "sightward.deadline_s"


def seconds_left(scope: Scope) -> float | None:
    """Until the request's deadline; None: it has none."""
    deadline_s: float | None = scope.get(_KEY)
    return None if deadline_s is None else deadline_s - asyncio.get_running_loop().time()


class DeadlineMiddleware:
    """Ends requests at their deadline with `DeadlineError`, if no answer has begun.

    `limit_s` holds for callers who name none, and bounds the others'; None: no limit. It does not
    hold for `others`, paths whose bodies take long to arrive.
    """

    def __init__(
        self, app: ASGIApp, *, limit_s: float | None, others: Collection[str] = ()
    ) -> None:
        self._app = app
        self._limit_s = limit_s
        self._others = frozenset(others)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            limit_s = None if scope.get("path") in self._others else self._limit_s
            timeout_s = _timeout_s(Headers(scope=scope).get(HEADER), limit_s)
        except InvalidFieldError as error:
            await error_response(scope, error)(scope, receive, send)
            return
        if timeout_s is None:
            await self._app(scope, receive, send)
            return
        scope[_KEY] = asyncio.get_running_loop().time() + timeout_s
        has_begun = False

        async def send_in_time(message: Message) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                deadline.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout_at(scope[_KEY]) as deadline:
                await self._app(scope, receive, send_in_time)
        except TimeoutError:
            if not deadline.expired() or has_begun:
                raise
            await error_response(scope, DeadlineError(timeout_s=timeout_s))(scope, receive, send)


def _timeout_s(given: str | None, limit_s: float | None) -> float | None:
    if given is None:
        return limit_s
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = math.nan
    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise InvalidFieldError(f"{HEADER} must be a number of seconds above 0.", param=HEADER)
    return timeout_s if limit_s is None else min(timeout_s, limit_s)
