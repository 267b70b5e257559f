import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

from server.concepts.endpoint_keys import EndpointKey
from server.engine.stub import StubEngine

ImagePart = Callable[[bytes], dict[str, object]]
Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

KEYS = [key.value for key in EndpointKey]


async def moderate(client: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post("/v1/moderations", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def text_part(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}


async def test_a_text_gets_one_result_in_the_original_shape(client: httpx2.AsyncClient) -> None:
    answer = await moderate(client, input="a quiet lake")
    assert set(answer) == {"id", "model", "results"}
    assert re.fullmatch(r"modr-[0-9a-f]{32}", answer["id"])
    assert answer["model"] == "stub-vlm"
    (result,) = answer["results"]
    assert set(result) == {
        "flagged",
        "categories",
        "category_scores",
        "category_applied_input_types",
    }
    for field in ("categories", "category_scores", "category_applied_input_types"):
        assert list(result[field]) == KEYS
    assert result["flagged"] is False
    assert not any(result["categories"].values())
    assert all(0.0 <= score <= 1.0 for score in result["category_scores"].values())
    assert result["category_applied_input_types"]["violence"] == ["text"]
    assert result["category_applied_input_types"]["sexual/minors"] == []


async def test_an_unsafe_text_is_flagged_with_its_key(client: httpx2.AsyncClient) -> None:
    (result,) = (await moderate(client, input="an attack"))["results"]
    assert result["flagged"] is True
    assert result["categories"]["violence"] is True
    assert result["category_scores"]["violence"] == pytest.approx(0.9 / 0.95)


async def test_a_list_of_strings_gets_a_result_each(client: httpx2.AsyncClient) -> None:
    results = (await moderate(client, input=["a lake", "an attack", "a lake"]))["results"]
    assert [result["flagged"] for result in results] == [False, True, False]


async def test_parts_are_merged_and_the_worst_speaks(
    client: httpx2.AsyncClient, image_part: ImagePart, safe_png: bytes, unsafe_png: bytes
) -> None:
    parts = [text_part("a lake"), image_part(unsafe_png), image_part(safe_png)]
    (result,) = (await moderate(client, input=parts))["results"]
    assert result["flagged"] is True
    assert result["category_applied_input_types"]["violence"] == ["text", "image"]


async def test_an_image_alone_applies_to_images(
    client: httpx2.AsyncClient, image_part: ImagePart, safe_png: bytes
) -> None:
    (result,) = (await moderate(client, input=[image_part(safe_png)]))["results"]
    assert result["flagged"] is False
    assert result["category_applied_input_types"]["violence"] == ["image"]


async def test_per_input_gives_each_part_its_own_result(
    client: httpx2.AsyncClient, image_part: ImagePart, safe_png: bytes, unsafe_png: bytes
) -> None:
    parts = [image_part(unsafe_png), text_part("a lake"), image_part(safe_png)]
    results = (await moderate(client, input=parts, sightward={"per_input": True}))["results"]
    assert [result["flagged"] for result in results] == [True, False, False]
    assert all("sightward" not in result for result in results)


async def test_detail_says_everything(
    client: httpx2.AsyncClient, image_part: ImagePart, unsafe_png: bytes
) -> None:
    answer = await moderate(client, input=[image_part(unsafe_png)], sightward={"detail": True})
    detail = answer["results"][0]["sightward"]
    assert set(detail) == {
        "outcome",
        "p_unsafe",
        "action",
        "categories",
        "concepts",
        "recognised",
        "risk",
        "raw",
        "judged_by",
        "own_concepts",
        "listed",
        "fingerprints",
        "policy_version",
        "scores_from",
        "look_alike_bits",
        "model_version",
        "timings_ms",
    }
    assert (detail["outcome"], detail["action"]) == ("unsafe", "block")
    assert detail["p_unsafe"] == pytest.approx(0.9 / 0.95)
    assert len(detail["categories"]) == 9
    assert max(detail["categories"], key=detail["categories"].get) == "Violence"
    assert len(detail["concepts"]) == 5
    assert detail["concepts"][0]["category"] == "Violence"
    assert detail["recognised"]["category"]["name"] == "Violence"
    assert detail["recognised"]["category"]["probability"] == pytest.approx(0.8)
    assert detail["risk"] is None  # this model has no safety head
    assert detail["judged_by"] == ["model"]
    assert detail["raw"] == {"p_unsafe": detail["p_unsafe"], "recognised": detail["recognised"]}
    scores = [concept["score"] for concept in detail["concepts"]]
    assert scores == sorted(scores, reverse=True)
    assert detail["model_version"].startswith("stub-vlm@abcdef012345+probes-")
    timings = detail["timings_ms"]
    assert set(timings) == {"decode", "engine", "total"}
    assert 0 < timings["decode"] < timings["total"]
    assert 0 < timings["engine"] < timings["total"]


async def test_what_could_not_be_judged_looks_safe_to_no_reader(client: httpx2.AsyncClient) -> None:
    options = {"detail": True}
    (result,) = (await moderate(client, input="mumble", sightward=options))["results"]
    assert result["flagged"] is True
    assert any(result["categories"].values())
    assert max(result["category_scores"].values()) == 1.0
    assert not any(result["category_applied_input_types"].values())
    assert result["sightward"]["outcome"] == "undetermined"
    assert result["sightward"]["action"] == "review"
    assert result["sightward"]["p_unsafe"] is None


async def test_undetermined_beats_safe_when_merged(client: httpx2.AsyncClient) -> None:
    parts = [text_part("a lake"), text_part("mumble")]
    (result,) = (await moderate(client, input=parts, sightward={"detail": True}))["results"]
    assert result["flagged"] is True
    assert result["sightward"]["outcome"] == "undetermined"


async def test_per_input_reports_a_bad_input_singly(
    client: httpx2.AsyncClient, image_part: ImagePart, safe_png: bytes
) -> None:
    web = {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}}
    parts = [image_part(safe_png), image_part(safe_png[:50]), web, text_part("a lake")]
    results = (await moderate(client, input=parts, sightward={"per_input": True}))["results"]
    assert [result["flagged"] for result in results] == [False, True, True, False]
    truncated, fetched = results[1]["sightward"], results[2]["sightward"]
    assert truncated["outcome"] == fetched["outcome"] == "undetermined"
    assert truncated["action"] == "review"
    assert truncated["error"]["code"] == "truncated_image"
    assert truncated["error"]["param"] == "input[1].image_url.url"
    assert fetched["error"]["code"] == "url_fetch_disabled"
    assert set(fetched["error"]) == {"message", "type", "param", "code"}
    for failed in (results[1], results[2]):
        assert any(failed["categories"].values())
        assert max(failed["category_scores"].values()) == 1.0
        assert not any(failed["category_applied_input_types"].values())


async def test_a_merged_call_fails_on_a_bad_input_before_the_model_is_asked(
    client: httpx2.AsyncClient, engine: StubEngine, image_part: ImagePart, safe_png: bytes
) -> None:
    parts = [image_part(safe_png), image_part(safe_png[:50])]
    response = await client.post("/v1/moderations", json={"input": parts})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "truncated_image"
    assert response.json()["error"]["param"] == "input[1].image_url.url"
    assert engine.questions == []


@pytest.mark.parametrize("model", ["omni-moderation-latest", "text-moderation-stable", "anything"])
async def test_any_model_name_is_an_alias_of_the_served_one(
    client: httpx2.AsyncClient, model: str
) -> None:
    assert (await moderate(client, input="a lake", model=model))["model"] == "stub-vlm"


async def test_unknown_fields_are_accepted(client: httpx2.AsyncClient) -> None:
    await moderate(client, input="a lake", user="someone", metadata={"a": [1, None]})


async def test_limits_are_exact(connect: Connect, image_part: ImagePart, safe_png: bytes) -> None:
    picture = image_part(safe_png)
    async with connect(max_inputs=3, max_images=2, max_text_chars=5) as client:
        await moderate(client, input=["abcde", "b", "c"])
        await moderate(client, input=[picture, picture, text_part("a")])
        for body, code in (
            (["a", "b", "c", "d"], "too_many_inputs"),
            ([picture, picture, picture], "too_many_images"),
            ("abcdef", "text_too_long"),
        ):
            response = await client.post("/v1/moderations", json={"input": body})
            assert response.status_code == 400
            assert response.json()["error"]["code"] == code


async def test_image_limits_come_from_the_settings(
    connect: Connect, image_part: ImagePart, safe_png: bytes
) -> None:
    for setting, code in (
        ({"max_image_bytes": 20}, "image_too_large"),
        ({"max_image_pixels": 255}, "too_many_pixels"),
        ({"max_image_side_px": 15}, "invalid_image_size"),
    ):
        async with connect(**setting) as client:
            response = await client.post("/v1/moderations", json={"input": [image_part(safe_png)]})
            assert response.json()["error"]["code"] == code


async def test_an_engine_that_dies_is_a_503_for_the_whole_call(
    client: httpx2.AsyncClient, engine: StubEngine
) -> None:
    engine.is_healthy = False
    for options in ({}, {"per_input": True}):
        response = await client.post(
            "/v1/moderations", json={"input": ["a", "b"], "sightward": options}
        )
        assert response.status_code == 503
        assert response.json()["error"] == {
            "message": "The model can't answer at the moment.",
            "type": "server_error",
            "param": None,
            "code": "engine_unavailable",
        }
        assert int(response.headers["retry-after"]) <= 120
