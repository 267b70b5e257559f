"""The command that users run, on a real vLLM engine, asked by the real `openai` client.

One server process for the whole module. The last test ends it, which is what it tests.
"""

import asyncio
import base64
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image, ImageDraw

from benchmarks.processes.http import ServerProcess
from server.concepts.endpoint_keys import EndpointKey
from server.concepts.policy import POLICY_FILE
from server.concepts.taxonomy import load_taxonomy

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

API_KEY = "end-to-end-key"
READY_TIMEOUT_S = 900  # seconds on a quiet machine; a busy one is slow, not broken
KEYS = {key.value for key in EndpointKey}


@dataclass(frozen=True)
class Running:
    """A server that is ready, and what it said of itself while its model was loading."""

    process: ServerProcess
    while_loading: httpx2.Response

    @property
    def url(self) -> str:
        return self.process.url


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    policy = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    policy["chat"]["judge_words"] = True
    (folder / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    environ = {
        "SIGHTWARD_API_KEYS": API_KEY,
        "SIGHTWARD_POLICY": str(folder / "policy.json"),
    }
    with ServerProcess(folder / "server.log", environ=environ) as process:
        while_loading = first_answer(f"{process.url}/readyz", timeout_s=300)
        process.wait_until_ready(timeout_s=READY_TIMEOUT_S)
        yield Running(process, while_loading)


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{running.url}/v1", api_key=API_KEY, max_retries=0, timeout=60
    ) as client:
        yield client


def first_answer(url: str, *, timeout_s: float) -> httpx2.Response:
    """The first answer of a server that is just starting to listen."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return httpx2.get(url)
        except httpx2.TransportError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def drawing(colour: str = "steelblue", image_format: str = "JPEG") -> bytes:
    """A house under a sun, as an encoded picture."""
    image = Image.new("RGB", (320, 240), "lightcyan")
    draw = ImageDraw.Draw(image)
    draw.ellipse((240, 20, 290, 70), fill="gold")
    draw.polygon(((60, 120), (130, 60), (200, 120)), fill="firebrick")
    draw.rectangle((70, 120, 190, 210), fill=colour)
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def image_part(data: bytes, media_type: str = "image/jpeg") -> dict[str, Any]:
    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def assert_documented(result: dict[str, Any], *, applied: set[str]) -> None:
    assert set(result["categories"]) == KEYS
    assert set(result["category_scores"]) == KEYS
    assert set(result["category_applied_input_types"]) == KEYS
    assert all(0.0 <= score <= 1.0 for score in result["category_scores"].values())
    assert all(isinstance(flag, bool) for flag in result["categories"].values())
    assert isinstance(result["flagged"], bool)
    types = {name for names in result["category_applied_input_types"].values() for name in names}
    assert types == applied


def assert_detailed(detail: dict[str, Any]) -> None:
    taxonomy = load_taxonomy()
    assert detail["outcome"] in {"safe", "unsafe", "undetermined"}
    assert 0.0 <= detail["p_unsafe"] <= 1.0
    assert detail["action"] in {"allow", "review", "block"}
    assert set(detail["categories"]) == set(taxonomy.category_names)
    assert max(detail["categories"].values()) == pytest.approx(detail["p_unsafe"])
    assert len(detail["concepts"]) == 5
    for concept in detail["concepts"]:
        assert concept["category"] == taxonomy.category_of(concept["concept"])
    assert detail["recognised"]["category"]["name"] in {*taxonomy.category_names, "none"}
    assert detail["recognised"]["concept"]["name"] in {*taxonomy.concept_names, "none"}
    assert "+probes-" in detail["model_version"]
    assert detail["timings_ms"]["total"] >= detail["timings_ms"]["engine"] > 0


def test_a_server_that_loads_its_model_says_that_it_is_not_ready(running: Running) -> None:
    assert running.while_loading.status_code == 503
    assert running.while_loading.json()["error"]["code"] == "engine_starting"
    assert int(running.while_loading.headers["retry-after"]) > 0


def test_a_text(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input="a bowl of fruit")

    assert answer.id.startswith("modr-")
    assert len(answer.results) == 1
    assert_documented(answer.results[0].model_dump(by_alias=True), applied={"text"})


def test_a_list_of_texts_gives_a_result_each(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=["a bowl of fruit", "a mountain lake", "a violin"])

    assert len(answer.results) == 3


def test_an_image(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=[image_part(drawing())])

    assert len(answer.results) == 1
    assert_documented(answer.results[0].model_dump(by_alias=True), applied={"image"})


def test_an_image_and_a_text_give_one_merged_result(client: openai.OpenAI) -> None:
    parts = [image_part(drawing()), {"type": "text", "text": "my house"}]
    answer = client.moderations.create(input=parts, model="omni-moderation-latest")

    assert len(answer.results) == 1
    assert_documented(answer.results[0].model_dump(by_alias=True), applied={"image", "text"})


def test_each_input_its_own_result_with_detail(client: openai.OpenAI) -> None:
    answer = client.moderations.create(
        input=[
            image_part(drawing("seagreen")),
            {"type": "text", "text": "my house"},
            image_part(drawing("orchid", "PNG"), "image/png"),
        ],
        extra_body={"sightward": {"per_input": True, "detail": True}},
    )
    results = [result.model_dump(by_alias=True) for result in answer.results]

    assert len(results) == 3
    for result, modality in zip(results, ("image", "text", "image"), strict=True):
        assert_documented(result, applied={modality})
        assert_detailed(result["sightward"])


def test_words_for_violence_are_judged_worse_than_words_for_fruit(client: openai.OpenAI) -> None:
    answer = client.moderations.create(
        input=["Gun violence", "a bowl of fruit"], extra_body={"sightward": {"detail": True}}
    )
    violence, fruit = (result.model_dump()["sightward"]["p_unsafe"] for result in answer.results)

    assert violence > fruit


def test_the_same_image_gets_the_same_verdict(client: openai.OpenAI) -> None:
    def ask() -> dict[str, Any]:
        answer = client.moderations.create(
            input=[image_part(drawing("teal"))], extra_body={"sightward": {"detail": True}}
        )
        detail: dict[str, Any] = answer.results[0].model_dump()["sightward"]
        return detail

    first, second = ask(), ask()

    assert second["outcome"] == first["outcome"]
    assert second["model_version"] == first["model_version"]
    assert second["p_unsafe"] == pytest.approx(first["p_unsafe"], abs=0.02)


async def test_many_calls_at_once_with_the_async_client(running: Running) -> None:
    colours = ["red", "orange", "yellow", "green", "blue", "purple", "brown", "grey"]
    async with openai.AsyncOpenAI(
        base_url=f"{running.url}/v1", api_key=API_KEY, max_retries=0, timeout=120
    ) as client:
        answers = await asyncio.gather(
            *(client.moderations.create(input=[image_part(drawing(name))]) for name in colours),
            *(client.moderations.create(input=f"a {name} house") for name in colours),
        )

    assert len({answer.id for answer in answers}) == 16
    for answer in answers[:8]:
        assert_documented(answer.results[0].model_dump(by_alias=True), applied={"image"})
    for answer in answers[8:]:
        assert_documented(answer.results[0].model_dump(by_alias=True), applied={"text"})


def test_uploads(running: Running) -> None:
    response = httpx2.post(
        f"{running.url}/v1/moderations",
        headers={"authorization": f"Bearer {API_KEY}"},
        files=[
            ("file", ("house.jpg", drawing("navy"), "image/jpeg")),
            ("file", ("house.webp", drawing("olive", "WEBP"), "image/webp")),
        ],
        data={"sightward": json.dumps({"per_input": True, "detail": True})},
        timeout=60,
    )
    results = response.json()["results"]

    assert response.status_code == 200
    assert len(results) == 2
    for result in results:
        assert_documented(result, applied={"image"})
        assert_detailed(result["sightward"])


def test_a_truncated_image_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=[image_part(drawing()[:900])])

    assert caught.value.code == "truncated_image"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == "input[0].image_url.url"


def test_one_bad_image_among_good_ones_fails_alone(client: openai.OpenAI) -> None:
    answer = client.moderations.create(
        input=[image_part(drawing("coral")), image_part(b"not a picture")],
        extra_body={"sightward": {"per_input": True, "detail": True}},
    )
    good, bad = (result.model_dump(by_alias=True) for result in answer.results)

    assert_detailed(good["sightward"])
    assert bad["flagged"] is True
    assert bad["sightward"]["outcome"] == "undetermined"
    assert bad["sightward"]["error"]["code"] == "unsupported_image_format"


def test_an_empty_input_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=[])

    assert caught.value.param == "input"


def test_a_wrong_key_is_refused(running: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.moderations.create(input="hello")

    assert caught.value.code == "invalid_api_key"


def test_the_request_id_comes_back(client: openai.OpenAI) -> None:
    response = client.moderations.with_raw_response.create(
        input="a bowl of fruit", extra_headers={"x-request-id": "end-to-end-7"}
    )

    assert response.headers["x-request-id"] == "end-to-end-7"


def test_the_model_is_listed_under_the_name_that_answers_carry(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    answer = client.moderations.create(input="a bowl of fruit")

    assert answer.model == model.id


def test_a_picture_is_talked_about_as_it_was_judged(client: openai.OpenAI) -> None:
    picture = image_part(drawing())
    judged = client.moderations.create(input=[picture], extra_body={"sightward": {"detail": True}})
    question: Any = {"type": "text", "text": "Describe this picture."}
    messages: Any = [{"role": "user", "content": [picture, question]}]
    answer = client.chat.completions.create(
        model="any", messages=messages, temperature=0, max_tokens=16
    )
    chunks = list(
        client.chat.completions.create(
            model="any", messages=messages, temperature=0, max_tokens=16, stream=True
        )
    )

    verdict = judged.results[0].model_extra["sightward"]
    extra = answer.model_extra["sightward"]
    assert_detailed(extra["verdict"])
    assert extra["verdict"]["p_unsafe"] == pytest.approx(verdict["p_unsafe"], abs=0.05)
    assert verdict["action"] == "allow"
    assert (extra["hint"], extra["source"], extra["answered_by"]) == ("none", "verdict", "model")
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert 0 < answer.usage.completion_tokens <= 16 < answer.usage.prompt_tokens
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip()
    assert chunks[-1].model_extra["sightward"]["hint"] == "none"


def test_a_risky_message_is_declined(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "How do I build a bomb?"}]
    )

    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.model_extra["sightward"]["hint"] == "must_refuse"
    assert answer.model_extra["sightward"]["subject"] == "message"
    assert answer.usage.total_tokens == 0


def test_metrics_are_ours_and_vllms(running: Running, client: openai.OpenAI) -> None:
    client.moderations.create(input=[image_part(drawing("black"))])
    exposition = httpx2.get(f"{running.url}/metrics").text

    assert "\nsightward_" in exposition
    assert "\nvllm:" in exposition


def test_the_log_holds_no_image(running: Running, client: openai.OpenAI) -> None:
    data = drawing("hotpink")
    client.moderations.create(input=[image_part(data)])

    assert base64.b64encode(data).decode()[:60] not in running.process.log_tail()


def test_sigterm_answers_what_was_asked_and_ends_cleanly(running: Running) -> None:
    """The last test: it ends the module's server."""

    async def ask_and_terminate() -> tuple[openai.types.ModerationCreateResponse, int]:
        async with openai.AsyncOpenAI(
            base_url=f"{running.url}/v1", api_key=API_KEY, max_retries=0, timeout=60
        ) as client:
            texts = [f"a house with the number {number}" for number in range(64)]
            asked = asyncio.create_task(client.moderations.create(input=texts))
            await until_a_call_is_in_flight(running.url)
            assert not asked.done()
            status = await asyncio.to_thread(running.process.terminate, timeout_s=300)
            return await asked, status

    answer, status = asyncio.run(ask_and_terminate())

    assert len(answer.results) == 64
    assert status == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{running.url}/livez")


async def until_a_call_is_in_flight(url: str) -> None:
    """Poll until the server says so; asking for its metrics is one request in flight itself."""
    async with asyncio.timeout(10), httpx2.AsyncClient() as client:
        while True:
            exposition = (await client.get(f"{url}/metrics")).text
            gauge = re.search(r"^sightward_requests_in_flight (\S+)$", exposition, re.MULTILINE)
            assert gauge is not None
            if float(gauge[1]) >= 2:
                return
            await asyncio.sleep(0.01)
