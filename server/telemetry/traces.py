"""Where a request's time goes, as OpenTelemetry spans, if an operator names a collector for them.

Nothing of what was sent is in a span. Without a collector `span` costs a look-up, and OpenTelemetry
is not imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from server.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

SERVICE_NAME = "sightward"

_tracer: ContextVar["Tracer | None"] = ContextVar("sightward_tracer", default=None)
"""The tracer of the request that is being answered here."""


@contextmanager
def span(stage: str) -> Iterator[None]:
    """A span for a stage of the request that is being answered; nothing where none is traced."""
    tracer = _tracer.get()
    if tracer is None:
        yield
        return
    # An exception's words may name what was sent.
    with tracer.start_as_current_span(
        stage, record_exception=False, set_status_on_exception=False
    ) as one:
        try:
            yield
        except BaseException as error:
            one.set_attribute("error.type", type(error).__name__)
            raise


def open_traces(endpoint: str, *, sample_share: float) -> "TracerProvider":
    """Spans for the OTLP/HTTP collector at `endpoint`, to be shut down when done.

    Raises `SettingsError` where the extra for it is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise SettingsError(("tracing needs Sightward's extra traces",)) from error
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample_share)),
        resource=Resource.create({"service.name": SERVICE_NAME}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


@contextmanager
def tracing(tracer: "Tracer") -> Iterator[None]:
    """Have every `span` in here, and in the tasks begun in here, made by `tracer`."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)
