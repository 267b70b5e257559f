"""A drawn set of pictures, the real app on a stub engine in process, and rows made by hand."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from alignment.data.manifest import ImageSet, read_image_set
from benchmarks.load.wire import Reply
from benchmarks.replay.rows import Row
from server.api.app import create_app
from server.engine.protocol import Answer, ModelCard, Question, Recognition
from server.engine.stub import StubEngine
from server.settings import Settings

URL = "http://sightward.test"
RED, GREEN = (200, 30, 30), (30, 160, 30)


class InProcess:
    """Sends to an app, or to a function, without a network."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._client = httpx2.AsyncClient(base_url=URL, transport=transport)
        self.bodies: list[bytes] = []

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        if body:
            self.bodies.append(body)
        content = {"content-type": "application/json", **(headers or {})}
        answer = await self._client.request(method, path, content=body, headers=content)
        return Reply(answer.status_code, dict(answer.headers), answer.content, 1.0)


def judge(question: Question) -> Answer:
    """Says "unsafe" to red pictures and to words about guns."""
    if question.image is not None:
        red, green, _ = question.image.resize((1, 1)).getpixel((0, 0))
        is_unsafe = red > green
    else:
        is_unsafe = "Gun violence" in question.text
    seen = 0.9 if is_unsafe else 0.05
    return Answer(
        option_mass={"no": 0.8, "yes": 0.1} if is_unsafe else {"no": 0.1, "yes": 0.8},
        recognition=Recognition(
            categories={"Violence": seen},
            no_category=1 - seen,
            concepts={"Gun violence": seen},
            no_concept=1 - seen,
        ),
    )


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    """Three unsafe pictures, of which one is judged safe, and two safe ones."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    gun = {"label": "Unsafe", "concept": "Gun violence", "category": "Violence"}
    apple = {"label": "Safe", "concept": "apple", "category": "Safe"}
    rows: list[dict[str, Any]] = [
        {"id": "u1", "colour": RED, **gun},
        {"id": "u2", "colour": RED, **gun},
        {"id": "u3", "colour": GREEN, **gun},
        {"id": "s1", "colour": GREEN, **apple},
        {"id": "s2", "colour": GREEN, **apple},
    ]
    with (folder / "manifest.jsonl").open("w") as manifest:
        for row in rows:
            Image.new("RGB", (32, 24), row.pop("colour")).save(folder / f"{row['id']}.png")
            line = {**row, "file": f"{row['id']}.png", "caption": "a drawing", "split": "test"}
            manifest.write(json.dumps(line) + "\n")
    return read_image_set(folder)


@pytest.fixture
async def service() -> AsyncIterator[InProcess]:
    card = ModelCard(id="stub", version="1" * 12, has_recognition=True)
    app = create_app(Settings(), engine=StubEngine(judge, card=card))
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        yield InProcess(httpx2.ASGITransport(app=app))


@pytest.fixture(scope="session")
def row() -> Callable[..., Row]:
    """Makes one request's row: by default an unsafe picture judged unsafe in 100 ms."""

    def make(name: str = "p1", **fields: Any) -> Row:
        unsafe = fields.pop("unsafe", True)
        parts: dict[str, Any] = {
            "id": name,
            "pass_number": 0,
            "group": f"example {name}",
            "unsafe": unsafe,
            "category": "Violence" if unsafe else "Safe",
            "concept": "Gun violence" if unsafe else "apple",
            "due_s": 0.0,
            "sent_s": fields.get("due_s", 0.0),
            "latency_ms": 100.0,
            "service_ms": fields.get("latency_ms", 100.0),
            "end": "ok",
            "p_unsafe": 0.9 if unsafe else 0.1,
        } | fields
        if parts["end"] != "ok":
            parts["p_unsafe"] = None
        elif "verdict" not in parts:
            p = parts["p_unsafe"]
            parts["verdict"] = "undetermined" if p is None else "unsafe" if p >= 0.5 else "safe"
        return Row(**parts)

    return make


@pytest.fixture(scope="session")
def in_process() -> type[InProcess]:
    """Sends to whatever stands behind a transport."""
    return InProcess
