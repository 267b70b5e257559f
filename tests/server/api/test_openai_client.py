"""The official client, sync and async, over a real socket."""

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import openai
import pytest
from openai.types import ModerationImageURLInputParam, ModerationTextInputParam

from server.engine.stub import StubEngine

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def base_url(serve: Serve) -> Iterator[str]:
    with serve() as base_url:
        yield base_url


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


def image_part(data: bytes) -> ModerationImageURLInputParam:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> ModerationTextInputParam:
    return {"type": "text", "text": text}


def test_texts(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=["a lake", "an attack"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence
    assert answer.results[1].category_scores.violence > 0.9
    assert answer.results[1].category_applied_input_types.violence == ["text"]
    assert answer.results[0].categories.sexual_minors is False
    assert answer.model == "stub-vlm"


def test_images_merged_and_the_original_model_name(
    client: openai.OpenAI, safe_png: bytes, unsafe_png: bytes
) -> None:
    answer = client.moderations.create(
        model="omni-moderation-latest",
        input=[text_part("what is this"), image_part(safe_png), image_part(unsafe_png)],
    )
    (result,) = answer.results
    assert result.flagged
    assert result.category_applied_input_types.violence == ["text", "image"]


def test_extras_by_extra_body(client: openai.OpenAI, safe_png: bytes) -> None:
    answer = client.moderations.create(
        input=[image_part(safe_png), image_part(b"no picture")],
        extra_body={"sightward": {"per_input": True, "detail": True}},
    )
    judged, failed = answer.results
    assert not judged.flagged
    assert judged.model_extra is not None
    assert judged.model_extra["sightward"]["outcome"] == "safe"
    assert failed.flagged
    assert failed.model_extra is not None
    assert failed.model_extra["sightward"]["error"]["code"] == "unsupported_image_format"


def test_every_field_of_a_failed_result_is_of_the_clients_type(client: openai.OpenAI) -> None:
    answer = client.moderations.with_raw_response.create(
        input=[image_part(b"no picture")], extra_body={"sightward": {"per_input": True}}
    )
    # Strict validation, as typed clients in other languages do it.
    result = openai.types.Moderation.model_validate(
        answer.http_response.json()["results"][0], strict=True
    )
    assert result.flagged


def test_request_ids_in_and_out(client: openai.OpenAI) -> None:
    raw = client.moderations.with_raw_response.create(
        input="a lake", extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.request_id == "mine-1"


def test_a_bad_request_raises_with_all_four_fields(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.moderations.create(input=[image_part(b"no picture")])
    assert raised.value.code == "unsupported_image_format"
    assert raised.value.param == "input[0].image_url.url"
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == "stub-vlm"


def test_wrong_key(serve: Serve) -> None:
    with serve(api_keys="right") as base_url:
        for key, is_right in (("right", True), ("wrong", False)):
            with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
                if is_right:
                    assert client.moderations.create(input="a lake").results
                    continue
                with pytest.raises(openai.AuthenticationError) as raised:
                    client.moderations.create(input="a lake")
                assert raised.value.code == "invalid_api_key"


def test_a_large_body_raises_and_is_not_retried(serve: Serve) -> None:
    with (
        serve(max_body_bytes=4_096) as base_url,
        openai.OpenAI(base_url=base_url, api_key="any") as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.moderations.create(input="x" * 3_000_000)
    assert raised.value.status_code == 413


def test_an_engine_that_is_down_raises_a_server_error(
    client: openai.OpenAI, engine: StubEngine
) -> None:
    engine.is_healthy = False
    with pytest.raises(openai.InternalServerError) as raised:
        client.moderations.create(input="a lake")
    assert raised.value.status_code == 503
    assert raised.value.code == "engine_unavailable"


async def test_async_client(base_url: str, safe_png: bytes, unsafe_png: bytes) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        answer = await client.moderations.create(
            input=[image_part(safe_png), image_part(unsafe_png)],
            extra_body={"sightward": {"per_input": True}},
        )
        assert [result.flagged for result in answer.results] == [False, True]
        with pytest.raises(openai.BadRequestError):
            await client.moderations.create(input=[])
