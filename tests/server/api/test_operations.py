import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from server.api.app import create_app
from server.concepts.policy import POLICY_FILE
from server.concepts.probes import PROBES_FILE
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import ModelCard
from server.engine.stub import StubEngine
from server.settings import Settings

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


async def test_models_lists_the_served_one(client: httpx2.AsyncClient) -> None:
    answer = (await client.get("/v1/models")).json()
    assert answer["object"] == "list"
    (model,) = answer["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("stub-vlm", "model", "sightward")
    assert model["created"] > 1_700_000_000
    assert model["sightward"]["has_recognition"] is True
    assert len(model["sightward"]["categories"]) == 9
    assert model["sightward"]["model_version"].startswith("stub-vlm@abcdef012345+probes-")
    assert (model["sightward"]["risk"], model["sightward"]["calibration"]) == (None, None)
    assert model["sightward"]["adapter"] is None
    assert model["sightward"]["chat"] == {
        "hints": True,
        "hint_types": dict.fromkeys(model["sightward"]["categories"], True),
        "judges_words": False,
        "max_images": 1,
        "max_tokens": 1024,
    }


async def test_models_tells_of_a_safety_head_and_an_adapter(connect: Connect) -> None:
    types = ("Hate", "Politics", "clean")
    card = ModelCard(id="safe-vlm", version="1" * 12, has_recognition=False, risk_types=types)
    async with connect(engine=StubEngine(card=card), adapter="adapters/strict") as client:
        (model,) = (await client.get("/v1/models")).json()["data"]
    assert model["sightward"]["risk"] == {"levels": [0, 1, 2, 3], "types": list(types)}
    assert model["sightward"]["adapter"] == "strict"


async def test_models_tells_which_types_the_policy_controls(
    connect: Connect, tmp_path: Path
) -> None:
    content = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    content["hints"]["types"] = {"Deception": {"enabled": False}}
    content["chat"]["judge_words"] = True
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(content), encoding="utf-8")
    async with connect(policy=policy) as client:
        (model,) = (await client.get("/v1/models")).json()["data"]
    switches = model["sightward"]["chat"]["hint_types"]
    assert [name for name, is_on in switches.items() if not is_on] == ["Deception"]
    assert len(switches) == 9
    assert model["sightward"]["chat"]["judges_words"] is True


async def test_ready_is_the_engines_own_answer(
    client: httpx2.AsyncClient, engine: StubEngine
) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    engine.is_healthy = False
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "engine_unavailable"
    assert (await client.get("/livez")).status_code == 200


async def test_an_engine_that_hangs_is_not_ready(connect: Connect) -> None:
    class HangingEngine(StubEngine):
        async def ready(self) -> bool:
            await asyncio.Event().wait()
            return True

    async with connect(engine=HangingEngine(), readiness_timeout_s=0.01) as client:
        response = await client.get("/readyz")
    assert response.status_code == 503


async def test_alive_while_loading_then_ready_then_stopped() -> None:
    may_load = threading.Event()
    engine = StubEngine()

    def load() -> StubEngine:
        assert may_load.wait(timeout=30)
        return engine

    app = create_app(Settings(), engine=load)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/livez")).status_code == 200
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/v1/models"),
            ("POST", "/v1/moderations"),
        ):
            response = await client.request(method, path)
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "engine_starting"
            assert int(response.headers["retry-after"]) > 0
        # Refused before it came to its route, and still counted as a call of it.
        counted = 'sightward_requests_total{route="/v1/moderations",status="503"} 1.0'
        assert counted in (await client.get("/metrics")).text.splitlines()
        may_load.set()
        await app.state.services.engine_host.settled()
        assert (await client.get("/readyz")).status_code == 200
        assert engine.is_started
    assert not engine.is_started


@pytest.mark.parametrize("fails_at", ["making", "starting"])
async def test_an_engine_that_cannot_start_is_reported_once_and_answered_503(
    fails_at: str,
) -> None:
    def make() -> StubEngine:
        if fails_at == "making":
            raise OSError("disk full at /secret/path")
        return StubEngine(start_error="no weights at /secret/path")

    failures: list[str] = []
    app = create_app(Settings(), engine=make, on_engine_failure=lambda: failures.append("failed"))
    with capture_logs() as logs:
        async with app.router.lifespan_context(app), client_of(app) as client:
            await app.state.services.engine_host.settled()
            response = await client.post("/v1/moderations", json={"input": "a"})
            assert (await client.get("/livez")).status_code == 200
    assert failures == ["failed"]
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "engine_unavailable"
    assert "secret" not in response.text
    (failure,) = [line for line in logs if line["event"] == "engine failed to start"]
    assert "/secret/path" in failure["error"]


async def test_stopping_while_loading_does_not_wait_for_ever() -> None:
    class NeverStarts(StubEngine):
        async def start(self) -> None:
            await asyncio.Event().wait()

    app = create_app(Settings(), engine=NeverStarts())
    async with asyncio.timeout(30):
        async with app.router.lifespan_context(app):
            await asyncio.sleep(0)


async def test_metrics_count_requests_verdicts_and_stages(
    client: httpx2.AsyncClient, safe_png: bytes
) -> None:
    files = [("file", ("a.png", safe_png)), ("file", ("b.png", safe_png[:30]))]
    options = {"sightward": '{"per_input": true}'}
    await client.post("/v1/moderations", files=files, data=options)
    await client.post("/v1/moderations", json={"input": ["an attack", "mumble"]})
    await client.post("/v1/moderations", json={"input": 5})
    await client.get("/nowhere")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    for line in (
        'sightward_requests_total{route="/v1/moderations",status="200"} 2.0',
        'sightward_requests_total{route="/v1/moderations",status="400"} 1.0',
        'sightward_requests_total{route="unmatched",status="404"} 1.0',
        "sightward_requests_in_flight 1.0",
        'sightward_verdicts_total{action="allow",outcome="safe"} 1.0',
        'sightward_verdicts_total{action="block",outcome="unsafe"} 1.0',
        'sightward_verdicts_total{action="review",outcome="undetermined"} 2.0',
        "sightward_undetermined_total 2.0",
        'sightward_refused_inputs_total{code="truncated_image"} 1.0',
        'sightward_verdict_categories_total{action="allow",category="none"} 1.0',
        'sightward_p_unsafe_count{modality="image"} 1.0',
        'sightward_p_unsafe_count{modality="text"} 1.0',
        'sightward_score_drift_psi{modality="image"} NaN',
        'sightward_stage_seconds_count{stage="decode"} 1.0',
        'sightward_stage_seconds_count{stage="engine"} 3.0',
        'sightward_stage_seconds_count{stage="total"} 3.0',
    ):
        assert line in lines
    (category,) = [
        line
        for line in lines
        if line.startswith("sightward_verdict_categories_total") and 'action="block"' in line
    ]
    assert any(f'category="{name}"' in category for name in load_taxonomy().category_names)
    # The default registry, where vLLM keeps its own.
    assert any(line.startswith("python_info") for line in lines)


async def test_metrics_belong_to_one_app(connect: Connect) -> None:
    async with connect() as first, connect() as second:
        await first.get("/livez")
        assert '{route="/livez"' in (await first.get("/metrics")).text
        assert '{route="/livez"' not in (await second.get("/metrics")).text


async def test_the_openapi_document_resolves(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        if isinstance(node, list):
            return [found for value in node for found in references(value)]
        return []

    found = references(document)
    assert any("TextPart" in reference for reference in found)
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[int(step) if isinstance(node, list) else step.replace("~1", "/")]


async def test_questions_of_ones_own_are_asked_and_named(
    connect: Connect, engine: StubEngine, tmp_path: Path
) -> None:
    words = json.loads(PROBES_FILE.read_text(encoding="utf-8"))
    words["judgements"][3]["text_question"] = "May all ages see {text}?"
    probes = tmp_path / "probes.json"
    probes.write_text(json.dumps(words), encoding="utf-8")
    async with connect(probes=probes) as client, connect() as shipped:
        versions = set()
        for one in (client, shipped):
            body = {"input": "a boat", "sightward": {"detail": True}}
            answer = await one.post("/v1/moderations", json=body)
            versions.add(answer.json()["results"][0]["sightward"]["model_version"])
    assert len(versions) == 2
    assert "May all ages see a boat?" in [question.text for question in engine.questions]
