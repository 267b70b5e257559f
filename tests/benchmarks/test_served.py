"""The whole benchmark `served` against the real app on a stub engine, in process."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.endpoint import Endpoint, EndpointError
from benchmarks.errors import MeasurementError
from benchmarks.records import write_record
from benchmarks.served import ServedConfig, run_served
from benchmarks.tables import served_tables, show
from server.api.app import create_app
from server.engine.protocol import Answer, ModelCard, Question, Recognition
from server.engine.stub import StubEngine
from server.settings import Settings

URL = "http://sightward.test"
RED, GREEN = (200, 30, 30), (30, 160, 30)


def answer(question: Question) -> Answer:
    """Says "unsafe" to red pictures and to words about guns."""
    if question.image is not None:
        red, green, _ = question.image.resize((1, 1)).getpixel((0, 0))
        is_unsafe = red > green
    else:
        is_unsafe = "Gun violence" in question.text
    mass = {"no": 0.8, "yes": 0.1} if is_unsafe else {"no": 0.1, "yes": 0.8}
    seen = 0.9 if is_unsafe else 0.05
    return Answer(
        option_mass=mass,
        recognition=Recognition(
            categories={"Violence": seen},
            no_category=1 - seen,
            concepts={"Gun violence": seen},
            no_concept=1 - seen,
        ),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "drawn"
    folder.mkdir()
    gun = {"label": "Unsafe", "concept": "Gun violence", "category": "Violence"}
    apple = {"label": "Safe", "concept": "apple", "category": "Safe"}
    rows = [
        {"id": "u1", "colour": RED, "proxy": "direct", **gun},
        {"id": "u2", "colour": RED, "proxy": "object", **gun},
        {"id": "u3", "colour": GREEN, "proxy": "weak", **gun},
        {"id": "s1", "colour": GREEN, "proxy": "safe", **apple},
        {"id": "s2", "colour": GREEN, "proxy": "safe", **apple},
    ]
    with (folder / "manifest.jsonl").open("w") as manifest:
        for row in rows:
            Image.new("RGB", (32, 24), row.pop("colour")).save(folder / f"{row['id']}.webp")
            line = {**row, "file": f"{row['id']}.webp", "caption": "a drawing", "split": "test"}
            manifest.write(json.dumps(line) + "\n")
    return folder


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    card = ModelCard(id="stub", version="1" * 12, has_recognition=True)
    app = create_app(Settings(), engine=StubEngine(answer, card=card))
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        async with Endpoint(URL, transport=httpx2.ASGITransport(app=app)) as endpoint:
            yield endpoint


async def test_a_folder_is_measured_through_http(
    data: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    config = ServedConfig(URL, clients=2, resamples=20)
    record = await run_served(config, data, endpoint, console=Console(quiet=True))
    figures = record["figures"]

    assert figures["images"]["alignment"]["value"] == pytest.approx(2 / 3)
    assert figures["texts"]["alignment"]["value"] == 1.0
    assert figures["alignment_gap"]["value"] == pytest.approx(1 / 3)
    assert figures["recognition"]["category_balanced"]["value"] == 1.0
    assert figures["recognition"]["concept_top1"]["value"] == 1.0
    assert figures["images"]["failed"] == 0
    assert record["model_version"].startswith("stub@111111111111")
    assert record["data"]["name"] == "drawn"
    assert str(tmp_path) not in json.dumps(record)
    assert json.loads(write_record(record, tmp_path / "records").read_text()) == record


async def test_the_tables_show_gap_and_recognition(data: Path, endpoint: Endpoint) -> None:
    config = ServedConfig(URL, resamples=20)
    record = await run_served(config, data, endpoint, console=Console(quiet=True))
    screen = io.StringIO()
    show(served_tables(record), Console(file=screen, width=160))

    assert "+0.333" in screen.getvalue()
    assert "category, balanced" in screen.getvalue()


async def test_a_split_without_examples_is_refused(data: Path, endpoint: Endpoint) -> None:
    with pytest.raises(MeasurementError, match="'train' has no examples"):
        await run_served(
            ServedConfig(URL, split="train"), data, endpoint, console=Console(quiet=True)
        )


async def test_a_refused_picture_is_an_answer_with_its_code(endpoint: Endpoint) -> None:
    judged = await endpoint.judge_image(b"no picture at all", media_type="image/png")

    assert judged.outcome == "undetermined"
    assert judged.p_unsafe is None
    assert judged.failure == "unsupported_image_format"


async def test_an_endpoint_that_is_not_there_is_said_to_be_so() -> None:
    async with Endpoint("http://127.0.0.1:9/v1") as endpoint:
        with pytest.raises(EndpointError, match="ConnectError"):
            await endpoint.model_version()


async def test_another_service_is_not_measured() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"results": [{"flagged": False}]})

    async with Endpoint(URL, transport=httpx2.MockTransport(respond)) as endpoint:
        with pytest.raises(EndpointError, match="model version"):
            await endpoint.model_version()
        with pytest.raises(EndpointError, match="no `sightward` detail"):
            await endpoint.judge_text("hello")
