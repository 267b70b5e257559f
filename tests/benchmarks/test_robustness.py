"""The whole benchmark `robustness` against the real app on a stub engine, in process."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.__main__ import app as command_line
from benchmarks.endpoint import Endpoint
from benchmarks.errors import MeasurementError
from benchmarks.image_changes import changes
from benchmarks.records import write_record
from benchmarks.robustness import RobustnessConfig, run_robustness
from benchmarks.robustness_tables import robustness_tables
from benchmarks.tables import show
from server.api.app import create_app
from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.settings import Settings

QUIET = Console(quiet=True)
COLOURS = {"left": ("red", "black"), "right": ("black", "red"), "both": ("red", "red")}


def red_on_the_left(question: Question) -> Answer:
    """Unsafe is what is red on its left side, so mirroring turns the verdict of half a picture."""
    assert question.image is not None
    strip = question.image.crop((0, 0, max(1, question.image.width // 4), question.image.height))
    red, green, _ = strip.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    return Answer({"no": 0.9, "yes": 0.1} if red > green + 60 else {"no": 0.2, "yes": 0.8})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "drawn"
    folder.mkdir()
    with (folder / "manifest.jsonl").open("w") as manifest:
        for name, (left, right) in COLOURS.items():
            image = Image.new("RGB", (48, 32), right)
            image.paste(Image.new("RGB", (24, 32), left), (0, 0))
            image.save(folder / f"{name}.webp", lossless=True)
            line = {"id": name, "file": f"{name}.webp", "label": "Safe", "concept": name}
            manifest.write(json.dumps(line | {"split": "test"}) + "\n")
    return folder


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    card = ModelCard(id="stub", version="1" * 12, has_recognition=True)
    app = create_app(Settings(), engine=StubEngine(red_on_the_left, card=card))
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        transport = httpx2.ASGITransport(app=app)
        async with Endpoint("http://sightward.test", transport=transport) as endpoint:
            yield endpoint


async def test_flips_are_found_through_http(data: Path, endpoint: Endpoint, tmp_path: Path) -> None:
    record = await run_robustness(RobustnessConfig(resamples=10), data, endpoint, console=QUIET)
    by_name = {one["change"]: one for one in record["figures"]["changes"]}

    assert set(by_name) == {change.name for change in changes()}
    assert by_name["mirrored"]["flips"]["value"] == pytest.approx(2 / 3)
    assert by_name["mirrored"]["flips_beyond_margin"]["value"] == pytest.approx(2 / 3)
    assert by_name["greyed"]["flips"]["value"] == pytest.approx(2 / 3)
    for name in ("same pixels", "JPEG, quality 90", "resized x 0.5", "cropped by 5%"):
        assert by_name[name]["flips"]["value"] == 0.0
    assert record["figures"]["flipped_by_any"]["value"] == 1.0
    (left, *_) = record["measurements"]
    assert left["p_unsafe"]["original"] == pytest.approx(0.9)
    assert left["p_unsafe"]["mirrored"] == pytest.approx(0.2)
    assert str(tmp_path) not in json.dumps(record)
    written = json.loads(write_record(record, tmp_path / "records").read_text())
    assert written == json.loads(json.dumps(record))

    screen = io.StringIO()
    show(robustness_tables(record), Console(file=screen, width=200))
    assert "flipped by any change" in screen.getvalue()
    assert "further than 0.1 from it" in screen.getvalue()


async def test_a_limit_draws_the_same_pictures_again(data: Path, endpoint: Endpoint) -> None:
    config = RobustnessConfig(resamples=2, limit=2)
    records = [await run_robustness(config, data, endpoint, console=QUIET) for _ in range(2)]
    assert [len(record["measurements"]) for record in records] == [2, 2]
    assert records[0]["measurements"] == records[1]["measurements"]


async def test_a_split_without_examples_is_refused(data: Path, endpoint: Endpoint) -> None:
    with pytest.raises(MeasurementError, match="'train' has no examples"):
        await run_robustness(RobustnessConfig(split="train"), data, endpoint, console=QUIET)


def test_a_running_server_and_a_model_are_one_too_many(data: Path) -> None:
    options = ["--url", "http://127.0.0.1:9", "--model", "reference"]
    with pytest.raises(MeasurementError, match="--url or --model"):
        command_line(["robustness", str(data), *options], result_action="return_value")
