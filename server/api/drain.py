"""The end of a process: what runs is finished, what is new is sent elsewhere, and nothing is lost.

While it drains the server still listens, so that whoever has not noticed yet gets a 503 to try
again with instead of a refused connection, and answers close their connections. What takes longer
than the grace period is cut off with the same 503.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.errors import error_response
from server.api.lifecycle import Lifecycle, Phase
from server.errors import DrainingError


class Drain:
    """Knows what runs. `begin` once; `is_over` says when the process may end.

    For `notice_s` the server goes on listening in any case: a load balancer needs time to see that
    it is not ready. What runs may take `grace_s` more.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        notice_s: float,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lifecycle = lifecycle
        self._notice_s = notice_s
        self._grace_s = grace_s
        self._clock = clock
        self._began_s: float | None = None
        self._running: set[asyncio.Timeout] = set()
        self._passing: list[_Passing] = []

    @property
    def has_begun(self) -> bool:
        """Whether new work is refused."""
        return self._lifecycle.phase is Phase.DRAINING

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    def begin(self) -> None:
        """Refuse new work from now on; calling it again changes nothing."""
        if self._began_s is None:
            self._began_s = self._clock()
            self._lifecycle.drain()

    def is_over(self) -> bool:
        """Whether all is done, or the time for it is up; what runs then is cut off."""
        if self._began_s is None:
            return False
        waited_s = self._clock() - self._began_s
        if waited_s >= self._notice_s + self._grace_s:
            self.cut_off()
            return True
        return waited_s >= self._notice_s and not self._running

    def cut_off(self) -> None:
        """Answer everything that runs with a 503 now, or break it off where it is half answered."""
        now_s = asyncio.get_running_loop().time()
        for request in self._running:
            request.reschedule(now_s)

    def enter(self, request: asyncio.Timeout) -> None:
        """Note that a request runs."""
        self._running.add(request)

    def leave(self, request: asyncio.Timeout) -> None:
        """Note that it does not any more."""
        self._running.discard(request)
        for passing in self._passing:
            passing.requests.discard(request)
            if not passing.requests:
                passing.is_over.set()

    async def passed(self) -> None:
        """Wait until everything that runs now has ended; what begins later is not waited for."""
        passing = _Passing(set(self._running))
        if not passing.requests:
            return
        self._passing.append(passing)
        try:
            await passing.is_over.wait()
        finally:
            self._passing.remove(passing)


@dataclass(eq=False, slots=True)
class _Passing:
    """The requests that someone waits for."""

    requests: set[asyncio.Timeout]
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class DrainMiddleware:
    """Has every request counted by `drain`, and its connection closed once that has begun."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_answered = False

        async def send_closing(message: Message) -> None:
            nonlocal has_answered
            if message["type"] == "http.response.start":
                has_answered = True
                if self._drain.has_begun:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._drain.enter(limit)
                try:
                    await self._app(scope, receive, send_closing)
                finally:
                    self._drain.leave(limit)
        except TimeoutError:
            if has_answered or not limit.expired():
                raise
            await error_response(scope, DrainingError())(scope, receive, send_closing)
