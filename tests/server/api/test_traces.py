"""Spans as a collector gets them."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from server.api import app as app_module
from server.engine.stub import StubEngine
from server.settings import Settings

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What would have been sent to the collector."""
    exporter = InMemorySpanExporter()

    def open_in_memory(endpoint: str, *, sample_share: float) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return provider

    monkeypatch.setattr(app_module, "open_traces", open_in_memory)
    return exporter


@asynccontextmanager
async def traced() -> AsyncIterator[httpx2.AsyncClient]:
    settings = Settings(traces_endpoint="http://collector.test/v1/traces")
    service = app_module.create_app(settings, engine=StubEngine())
    transport = httpx2.ASGITransport(service)
    async with (
        service.router.lifespan_context(service),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        await service.state.services.engine_host.settled()
        yield client


async def test_a_request_continues_its_callers_trace_with_a_span_a_stage(
    spans: InMemorySpanExporter, png: Callable[[str], bytes]
) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    files = {"file": ("secret-name.png", png("white"))}
    with capture_logs() as logs:
        async with traced() as client:
            await client.post("/v1/moderations", files=files, headers=headers)
            await client.get("/livez")
            finished = {one.name: one for one in spans.get_finished_spans()}
    request = finished["POST /v1/moderations"]
    assert set(finished) == {"POST /v1/moderations", "decode", "engine"}
    for one in finished.values():
        assert one.context is not None
        assert f"{one.context.trace_id:032x}" == TRACE
        assert "secret" not in one.to_json()
    for stage in ("decode", "engine"):
        assert finished[stage].parent == request.context
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert [line["trace_id"] for line in logs if "trace_id" in line] == [TRACE]


async def test_a_refused_body_is_in_the_trace_without_its_words(
    spans: InMemorySpanExporter,
) -> None:
    async with traced() as client:
        await client.post("/v1/moderations", json={"input": {"secret": "words"}})
        (request,) = spans.get_finished_spans()
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 400
    assert "secret" not in request.to_json()


def test_without_a_collector_opentelemetry_is_not_imported() -> None:
    script = (
        "import sys\n"
        "from server.api.app import create_app\n"
        "from server.engine.stub import StubEngine\n"
        "from server.settings import Settings\n"
        "create_app(Settings(), engine=StubEngine())\n"
        "sys.exit('opentelemetry' in sys.modules or 'redis' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
