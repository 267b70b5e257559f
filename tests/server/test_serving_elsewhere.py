"""The endpoint in front of a model that runs elsewhere, behind an OpenAI-compatible endpoint."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from server.api.app import create_app
from server.errors import EngineStartError, SettingsError
from server.serving_engine import make_engine, startup_check
from server.settings import Settings, read_settings


def settings_for(server: Any, **more: Any) -> Settings:
    return read_settings(model="remote:tiny", model_url=server.base_url, cache="off", **more)


@pytest.fixture
def client(openai_server: Any) -> Iterator[TestClient]:
    openai_server.key = "between-us"
    settings = settings_for(openai_server, model_url_key="between-us")
    app = create_app(
        settings, engine=lambda: make_engine(settings), startup_check=startup_check(settings)
    )
    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(app.state.services.engine_host.settled)
        openai_server.forget()
        yield client


def picture() -> dict[str, Any]:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "olive").save(data, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    return {
        "input": [{"type": "image_url", "image_url": {"url": url}}],
        "sightward": {"detail": True},
    }


def test_a_picture_is_judged_by_the_model_elsewhere(openai_server: Any, client: TestClient) -> None:
    openai_server.answer = lambda chat: (
        openai_server.say("A", top={"A": 0.9, "B": 0.1})
        if "\nA. " in chat.text
        else openai_server.say("No", top={"No": 0.8, "Yes": 0.2})  # fit for anyone to see?
    )
    answer = client.post("/v1/moderations", json=picture())

    assert answer.status_code == 200, answer.text
    verdict = answer.json()["results"][0]["sightward"]
    assert verdict["p_unsafe"] == pytest.approx(0.8)
    assert verdict["recognised"]["category"]["name"] != "none"
    assert all(chat.image_urls for chat in openai_server.chats)
    assert len(openai_server.chats) > 1, "without recognition rows categories are asked for"
    assert client.get("/readyz").status_code == 200
    assert (
        client.post("/v1/chat/completions", json={"model": "x", "messages": []}).status_code >= 400
    )


def test_a_model_that_lets_nobody_in_is_an_error_and_no_verdict(
    openai_server: Any, client: TestClient
) -> None:
    openai_server.answer = lambda chat: openai_server.fail(401, "who?")
    openai_server.models = openai_server.fail(401, "who?")

    answer = client.post("/v1/moderations", json=picture())

    assert answer.status_code == 503
    assert "results" not in answer.json()
    assert client.get("/readyz").status_code == 503


async def test_nobody_at_the_address_ends_the_start() -> None:
    settings = read_settings(model="remote:tiny", model_url="http://127.0.0.1:9/v1")
    with pytest.raises(EngineStartError, match="no connection to"):
        await make_engine(settings).start()


def test_a_local_model_is_not_asked_at_an_address() -> None:
    settings = read_settings(model="qwen2.5-vl-3b", model_url="http://127.0.0.1:9/v1")
    with pytest.raises(EngineStartError, match="only remote:NAME"):
        make_engine(settings)


@pytest.mark.parametrize(
    "given",
    [
        {"model_url": "http://vllm:8000/v1"},
        {"model_url_key": "k", "model": "remote:tiny"},
        {"model_url": "http://vllm:8000/v1", "model": "remote:tiny", "adapter": "lora"},
    ],
)
def test_settings_that_name_half_an_endpoint_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="MODEL_URL"):
        read_settings(**given)
