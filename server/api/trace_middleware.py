"""A request's own span, which continues the caller's trace (``traceparent``) if there is one."""

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.request_record import record_of
from server.telemetry.traces import SERVICE_NAME, tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_MAX_STATUS_OF_CALLERS = 499


class TraceMiddleware:
    """Gives every request below `prefix` a span of `provider`, and its log line the trace's id.

    Imported only where traces are wanted: it needs OpenTelemetry.
    """

    def __init__(self, app: ASGIApp, *, provider: "TracerProvider", prefix: str = "/v1/") -> None:
        self._app = app
        self._tracer = provider.get_tracer(SERVICE_NAME)
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        request = self._tracer.start_as_current_span(
            scope["method"],
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            record_exception=False,
        )
        with tracing(self._tracer), request as span:
            record_of(scope).trace_id = f"{span.get_span_context().trace_id:032x}"

            async def send_noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] > _MAX_STATUS_OF_CALLERS:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self._app(scope, receive, send_noting)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
