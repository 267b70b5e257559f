"""The cache as a caller and an operator see it."""

import base64
import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import numpy as np
import pytest
from PIL import Image

from server.api.app import create_app
from server.engine.stub import StubEngine
from server.errors import SettingsError
from server.settings import Settings

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


async def detail_of(client: httpx2.AsyncClient, *pictures: bytes) -> dict[str, object]:
    parts = [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()},
        }
        for data in pictures
    ]
    body = {"input": parts, "sightward": {"detail": True}}
    response = await client.post("/v1/moderations", json=body)
    assert response.status_code == 200
    (result,) = response.json()["results"]
    return dict(result["sightward"])


def dark_scene(*, mark: bool = False) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 100, (16, 16), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC).convert("RGB")
    if mark:
        picture.paste("white", (60, 60, 64, 64))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


async def test_the_same_pixels_in_another_file_are_judged_once(
    client: httpx2.AsyncClient, engine: StubEngine, unsafe_png: bytes
) -> None:
    again = io.BytesIO()
    Image.open(io.BytesIO(unsafe_png)).save(again, "BMP")
    first = await detail_of(client, unsafe_png)
    second = await detail_of(client, again.getvalue())
    assert len(engine.questions) == 1
    assert (first["scores_from"], second["scores_from"]) == (["model"], ["cache"])
    for same in ("outcome", "p_unsafe", "action", "categories", "concepts", "model_version"):
        assert first[same] == second[same]


async def test_the_same_picture_twice_in_one_call_is_asked_once(
    client: httpx2.AsyncClient, engine: StubEngine, safe_png: bytes
) -> None:
    detail = await detail_of(client, safe_png, safe_png)
    assert detail["scores_from"] == ["in_flight", "model"]
    assert len(engine.questions) == 1


async def test_words_are_known_too_and_what_got_no_answer_is_asked_again(
    client: httpx2.AsyncClient, engine: StubEngine
) -> None:
    for _ in range(2):
        await client.post("/v1/moderations", json={"input": ["a boat", "mumble"]})
    asked = [question.text for question in engine.questions]
    assert sum("a boat" in text for text in asked) == 1
    assert sum("mumble" in text for text in asked) == 2


async def test_a_look_alike_is_marked_in_the_answer(connect: Connect) -> None:
    async with connect(cache_look_alikes="unsafe") as client:
        await detail_of(client, dark_scene())
        detail = await detail_of(client, dark_scene(mark=True))
        scrape = (await client.get("/metrics")).text
    assert detail["scores_from"] == ["near_duplicate"]
    assert isinstance(detail["look_alike_bits"], int)
    assert 0 < detail["look_alike_bits"] <= 16
    assert 'sightward_cache_requests_total{source="near_duplicate"} 1.0' in scrape.splitlines()


async def test_without_a_cache_everything_is_judged(
    connect: Connect, engine: StubEngine, safe_png: bytes
) -> None:
    async with connect(cache="off") as client:
        for _ in range(2):
            assert (await detail_of(client, safe_png))["scores_from"] == ["model"]
    assert len(engine.questions) == 2


async def test_a_shared_cache_that_is_not_there_is_counted_and_done_without(
    connect: Connect, engine: StubEngine, safe_png: bytes
) -> None:
    # Port 9 is "discard", which nothing serves here.
    async with connect(cache="redis", redis_url="redis://127.0.0.1:9") as client:
        detail = await detail_of(client, safe_png)
        scrape = (await client.get("/metrics")).text
    assert (detail["outcome"], detail["scores_from"]) == ("safe", ["model"])
    assert 'sightward_cache_failures_total{operation="get"} 1.0' in scrape.splitlines()


@pytest.mark.parametrize(
    "settings", [{"cache": "redis"}, {"cache": "redis", "redis_url": "http://:secret@host"}]
)
def test_a_shared_cache_without_a_sound_address_is_refused_at_the_start(
    settings: dict[str, str],
) -> None:
    with pytest.raises(SettingsError, match="SIGHTWARD_REDIS_URL") as raised:
        create_app(Settings.model_validate(settings), engine=StubEngine())
    assert "secret" not in str(raised.value)
