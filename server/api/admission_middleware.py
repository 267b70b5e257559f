"""Refuses calls that can't be served now, before a byte of their bodies is read."""

import time
from collections.abc import Collection
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.admission import Admission, Turn
from server.api.client_leaving import unless_ended
from server.api.deadline import seconds_left
from server.api.errors import error_response, rule_for
from server.api.waiting_body import WaitingBody
from server.errors import QueueFullError, SightwardError
from server.telemetry import Metrics
from server.telemetry.traces import span


class Gate(Protocol):
    """Whether new work is taken at all."""

    def refusal(self) -> SightwardError | None:
        """Why none is taken now; None: some is."""
        ...


class AdmissionMiddleware:
    """Has calls to `paths` wait for their turn, or sends them away with a time to come back.

    Nothing is refused later for want of room: whoever got a turn has it until its answer is sent.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        gate: Gate,
        metrics: Metrics,
        paths: Collection[str],
    ) -> None:
        self._app = app
        self._admission = admission
        self._gate = gate
        self._metrics = metrics
        self._paths = frozenset(paths)
        metrics.calls_running.set_function(lambda: admission.running)
        metrics.calls_waiting.set_function(lambda: admission.waiting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        is_work = (
            scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._paths
        )
        if not is_work:
            await self._app(scope, receive, send)
            return
        refusal = self._gate.refusal()
        if refusal is not None:
            await self._refuse(refusal, scope, receive, send)
            return
        body = WaitingBody(receive)
        turn = self._admission.turn()
        is_cut_short = True
        try:
            refusal = await self._wait_for(turn, body, scope)
            if refusal is not None:
                await self._refuse(refusal, scope, body, send)
                return
            await self._app(scope, body, send)
            is_cut_short = False
        finally:
            turn.end(is_cut_short=is_cut_short)
            await body.close()

    async def _wait_for(self, turn: Turn, body: WaitingBody, scope: Scope) -> SightwardError | None:
        """Why the call is refused after all; None: its turn has come."""
        began_s = time.perf_counter()
        try:
            if not turn.ask(patience_s=seconds_left(scope)):
                with span("queue"):
                    await unless_ended(body.left(), turn.wait())
                turn.require_time(seconds_left(scope))
        except QueueFullError as error:
            return error
        self._metrics.observe("queue", (time.perf_counter() - began_s) * 1000)
        return self._gate.refusal()  # much may have happened meanwhile

    async def _refuse(
        self, error: SightwardError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._metrics.refusals.labels(rule_for(error).code).inc()
        await error_response(scope, error)(scope, receive, send)
