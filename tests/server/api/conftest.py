"""The app in process on the stub engine, a real server for real clients, and pictures to send."""

import base64
import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from server.api.app import create_app
from server.concepts.recognition import Recognition
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import Answer, Engine, ModelCard, Question
from server.engine.stub import StubEngine
from server.settings import Settings

STUB_SERVER = Path(__file__).with_name("stub_server.py")

ClientFactory = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


def _recognition() -> Recognition:
    """Mostly the third category and its first concept, a little of everything else."""
    taxonomy = load_taxonomy()
    category = taxonomy.category_names[2]
    concept = taxonomy.concepts_of(category)[0]
    categories = dict.fromkeys(taxonomy.category_names, 0.01)
    concepts = dict.fromkeys(taxonomy.concept_names, 0.001)
    categories[category], concepts[concept] = 0.8, 0.7
    return Recognition(
        categories=categories,
        no_category=1.0 - sum(categories.values()),
        concepts=concepts,
        no_concept=1.0 - sum(concepts.values()),
    )


def _judge(question: Question) -> Answer:
    """Dark pictures and texts with "attack" are unsafe, "mumble" gets no answer, the rest is safe.

    The probes differ in which answer says "unsafe"; the one asked by default says it by "no".
    """
    if "mumble" in question.text:
        return Answer(option_mass={"yes": 0.001, "no": 0.001}, recognition=_recognition())
    is_dark = question.image is not None and question.image.getpixel((0, 0))[0] < 128
    is_unsafe = is_dark or "attack" in question.text
    mass = {"yes": 0.05, "no": 0.9} if is_unsafe else {"yes": 0.9, "no": 0.05}
    return Answer(option_mass=mass, recognition=_recognition())


@pytest.fixture
def engine() -> StubEngine:
    """A stub with recognition that judges by brightness and by words."""
    card = ModelCard(id="stub-vlm", version="abcdef012345", has_recognition=True)
    return StubEngine(_judge, card=card)


@asynccontextmanager
async def _client_of(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@pytest.fixture
def connect(engine: StubEngine) -> ClientFactory:
    """``async with connect(max_inputs=2) as client``: a running app with such settings."""

    def connect_to(
        *, engine: Engine | Callable[[], Engine] = engine, **settings: object
    ) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        return _client_of(create_app(Settings.model_validate(settings), engine=engine))

    return connect_to


@pytest.fixture
async def client(connect: ClientFactory) -> AsyncIterator[httpx2.AsyncClient]:
    """The app with default settings."""
    async with connect() as client:
        yield client


class _AnnouncingServer(uvicorn.Server):
    """A uvicorn server that says when it listens and its engine has settled."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_level="error", access_log=False))
        self.is_up = threading.Event()
        self._app = app

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(None)
        await self._app.state.services.engine_host.settled()
        self.is_up.set()

    @property
    def port(self) -> int:
        return int(self.servers[0].sockets[0].getsockname()[1])


@pytest.fixture
def serve(engine: StubEngine) -> Callable[..., contextlib.AbstractContextManager[str]]:
    """``with serve() as base_url``: the app on a real loopback socket, as clients see it."""

    @contextlib.contextmanager
    def serve_app(**settings: object) -> Iterator[str]:
        server = _AnnouncingServer(create_app(Settings.model_validate(settings), engine=engine))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            assert server.is_up.wait(timeout=60)
            yield f"http://127.0.0.1:{server.port}/v1"
        finally:
            server.should_exit = True
            thread.join(timeout=60)

    return serve_app


def _png(shade: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), shade).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def png() -> Callable[[str], bytes]:
    """A picture of one colour."""
    return _png


@pytest.fixture
def safe_png() -> bytes:
    """A bright picture, which the stub finds safe."""
    return _png("white")


@pytest.fixture
def unsafe_png() -> bytes:
    """A dark picture, which the stub finds unsafe."""
    return _png("black")


@pytest.fixture
def image_part() -> Callable[[bytes], dict[str, object]]:
    """A picture as a part of `input`."""

    def part(data: bytes) -> dict[str, object]:
        url = "data:image/png;base64," + base64.b64encode(data).decode()
        return {"type": "image_url", "image_url": {"url": url}}

    return part


@dataclass(frozen=True)
class StubServer:
    """A running server."""

    pid: int
    url: str

    def peak_bytes(self) -> int:
        """The largest resident memory so far."""
        return self._status_bytes("VmHWM")

    def resident_bytes(self) -> int:
        """The resident memory now."""
        return self._status_bytes("VmRSS")

    def _status_bytes(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) * 1024


@pytest.fixture
def stub_server() -> Iterator[StubServer]:
    """The app on the stub engine in a process of its own."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(STUB_SERVER), str(write_end)],
        pass_fds=[write_end],
        stdout=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as announcement:
        port = int(announcement.read())
    try:
        yield StubServer(process.pid, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=60)
