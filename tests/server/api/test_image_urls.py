"""Pictures named by web addresses, through the API: a real server on 127.0.0.2, which is opened."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from structlog.testing import capture_logs

from server.engine.stub import StubEngine

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
HOST = "127.0.0.2"


class Images(ThreadingHTTPServer):
    """Serves `pages` by path, and lists what was asked for."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.server_address[1]}{path}"

    @property
    def settings(self) -> dict[str, object]:
        return {
            "fetch_urls": True,
            "fetch_open_networks": f"{HOST}/32",
            "fetch_ports": str(self.server_address[1]),
        }


class _Handler(BaseHTTPRequestHandler):
    server: Images

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("content-length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def images(safe_png: bytes, unsafe_png: bytes) -> Iterator[Images]:
    with Images() as server:
        server.pages = {"/safe?sig=s3cret": safe_png, "/unsafe": unsafe_png, "/text": b"no picture"}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def part(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


async def test_each_address_answers_for_itself(
    connect: Connect, images: Images, image_part: Callable[[bytes], object], unsafe_png: bytes
) -> None:
    parts = [
        part(images.url("/safe?sig=s3cret")),
        part(images.url("/unsafe")),
        part(images.url("/missing")),
        part(images.url("/text")),
        part("http://169.254.169.254/latest/meta-data/"),
        part(f"ftp://{HOST}/safe"),
        image_part(unsafe_png),
    ]
    async with connect(**images.settings) as client:
        body = {"input": parts, "sightward": {"per_input": True, "detail": True}}
        response = await client.post("/v1/moderations", json=body)
        lines = (await client.get("/metrics")).text.splitlines()
    assert response.status_code == 200
    found = [result["sightward"] for result in response.json()["results"]]
    assert [one["outcome"] for one in found] == [
        *("safe", "unsafe", "undetermined", "undetermined", "undetermined", "undetermined"),
        "unsafe",
    ]
    errors = [one["error"] for one in found[2:6]]
    assert [error["code"] for error in errors] == [
        "url_status",
        "unsupported_image_format",
        "invalid_url",
        "invalid_data_url",
    ]
    assert errors[0]["param"] == "input[2].image_url.url"
    assert "404" in errors[0]["message"]
    assert 'sightward_fetches_total{outcome="fetched"} 3.0' in lines
    assert 'sightward_fetches_total{outcome="url_status"} 1.0' in lines
    assert 'sightward_stage_seconds_count{stage="fetch"} 5.0' in lines


async def test_a_merged_call_fails_with_the_addresses_own_code(
    connect: Connect, images: Images, engine: StubEngine
) -> None:
    async with connect(**images.settings) as client:
        for path, code in (("/missing", "url_status"), ("/text", "unsupported_image_format")):
            response = await client.post(
                "/v1/moderations", json={"input": [part(images.url(path))]}
            )
            assert response.status_code == 400
            assert response.json()["error"]["code"] == code
            assert response.json()["error"]["param"] == "input[0].image_url.url"
    assert engine.questions == []


async def test_a_host_inside_is_refused_with_a_word_that_tells_nothing(
    connect: Connect, images: Images
) -> None:
    settings = images.settings | {"fetch_open_networks": ""}
    async with connect(**settings) as client:
        messages = set()
        for host in (HOST, "localhost", "no-such-name.invalid", "10.0.0.1"):
            url = images.url("/unsafe").replace(HOST, host)
            response = await client.post("/v1/moderations", json={"input": [part(url)]})
            assert response.json()["error"]["code"] == "url_host_refused"
            messages.add(response.json()["error"]["message"])
    assert len(messages) == 1
    assert images.asked == []


async def test_an_address_in_a_conversation_is_fetched_too(
    connect: Connect, images: Images
) -> None:
    content = [part(images.url("/unsafe")), {"type": "text", "text": "What is it?"}]
    async with connect(**images.settings) as client:
        response = await client.post(
            "/v1/chat/completions",
            json={"model": "any", "messages": [{"role": "user", "content": content}]},
        )
    assert response.status_code == 200
    assert images.asked == ["/unsafe"]


async def test_nothing_is_fetched_unless_configured(
    client: httpx2.AsyncClient, images: Images
) -> None:
    response = await client.post("/v1/moderations", json={"input": [part(images.url("/unsafe"))]})
    assert response.json()["error"]["code"] == "url_fetch_disabled"
    assert images.asked == []


async def test_no_log_and_no_answer_repeats_an_address(connect: Connect, images: Images) -> None:
    parts = [part(images.url("/safe?sig=s3cret")), part(images.url("/missing?sig=s3cret"))]
    async with connect(**images.settings) as client:
        with capture_logs() as logs:
            body = {"input": parts, "sightward": {"per_input": True, "detail": True}}
            response = await client.post("/v1/moderations", json=body)
    assert len(images.asked) == 2
    for text in (response.text, str(logs)):
        assert "s3cret" not in text
        assert HOST not in text
