"""The fast path through HTTP: which path judged is said, and a missing one harms nobody."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from PIL import Image
from structlog.testing import capture_logs

from server.api.app import create_app
from server.api.services import Services
from server.cascade import FastReader
from server.concepts.calibration import Calibration, FastPathCalibration
from server.concepts.fast_path import FastReading, recognised
from server.concepts.policy import POLICY_FILE
from server.concepts.probes import load_probes
from server.concepts.risk import CLEAN, Risk
from server.concepts.taxonomy import load_taxonomy
from server.engine.stub import StubEngine
from server.errors import NoFastPathError
from server.settings import Settings

ImagePart = Callable[[bytes], dict[str, object]]
FITTED = FastPathCalibration(head="0123456789ab", allow_below=0.25, block_above=0.9)


class Head:
    """Sure that white pictures are safe, and unsure of all others."""

    version = FITTED.head

    def __init__(self) -> None:
        self.is_closed = False

    async def read(self, image: Image.Image) -> FastReading:
        p = 0.05 if image.getpixel((0, 0)) == (255, 255, 255) else 0.6
        types = dict.fromkeys(load_taxonomy().category_names, 0.0) | {"Violence": p, CLEAN: 1 - p}
        risk = Risk((1 - p, p, 0.0, 0.0), types)
        return FastReading(risk, recognised(risk, {"Gun violence": p}, 1 - p))

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A policy that uses the fast path, and a calibration that has one."""
    policy = json.loads(POLICY_FILE.read_text()) | {"fast_path": "both"}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    probes = load_probes()
    calibration = Calibration(
        revision="1",
        probes_version=probes.version,
        active=probes.active,
        taxonomy_version=load_taxonomy().version,
        fast_path=FITTED,
    )
    (tmp_path / "calibration.json").write_text(calibration.model_dump_json())
    return {
        "policy": tmp_path / "policy.json",
        "calibration": tmp_path / "calibration.json",
    }


@asynccontextmanager
async def connected(
    engine: StubEngine, fast_reader: Callable[[], FastReader] | None, settings: dict[str, Any]
) -> AsyncIterator[httpx2.AsyncClient]:
    # What is tested is who judges, so that nothing may be remembered.
    settings = {"cache": "off", **settings}
    app = create_app(Settings.model_validate(settings), engine=engine, fast_reader=fast_reader)
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def detail(client: httpx2.AsyncClient, *parts: dict[str, object]) -> dict[str, Any]:
    body = {"input": list(parts), "sightward": {"detail": True}}
    response = await client.post("/v1/moderations", json=body)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()["results"][0]["sightward"]
    return found


async def fast_path_of(client: httpx2.AsyncClient) -> object:
    (model,) = (await client.get("/v1/models")).json()["data"]
    return model["sightward"]["fast_path"]


async def test_each_answer_names_the_path_that_judged(
    engine: StubEngine,
    settings: dict[str, Any],
    image_part: ImagePart,
    safe_png: bytes,
    unsafe_png: bytes,
) -> None:
    head = Head()
    white, black = image_part(safe_png), image_part(unsafe_png)
    async with connected(engine, lambda: head, settings) as client:
        fast = await detail(client, white)
        assert engine.questions == []
        full = await detail(client, black)
        assert len(engine.questions) == 1
        merged = await detail(client, white, black)
        carried = await fast_path_of(client)
        metrics = (await client.get("/metrics")).text
    assert head.is_closed

    assert (fast["judged_by"], fast["outcome"], fast["action"]) == (
        ["safety_head"],
        "safe",
        "allow",
    )
    assert fast["p_unsafe"] == pytest.approx(0.05)
    assert fast["risk"]["level"] == 0
    assert fast["recognised"]["category"]["name"] == "none"
    assert (full["judged_by"], full["outcome"]) == (["model"], "unsafe")
    assert (merged["judged_by"], merged["outcome"]) == (["model", "safety_head"], "unsafe")
    assert fast["model_version"] == full["model_version"]
    assert fast["model_version"].endswith("+fast-0123456789ab.0.25-0.9")
    assert carried == {
        "use": "both",
        "head": "0123456789ab",
        "allow_below": 0.25,
        "block_above": 0.9,
    }
    assert 'sightward_judged_total{judge="safety_head",modality="image"} 2.0' in metrics
    assert 'sightward_judged_total{judge="model",modality="image"} 2.0' in metrics


def no_head() -> FastReader:
    raise NoFastPathError("the model has no safety modules")


def broken() -> FastReader:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("fast_reader", [None, no_head, broken])
async def test_without_a_head_the_model_judges_everything(
    fast_reader: Callable[[], FastReader] | None,
    engine: StubEngine,
    settings: dict[str, Any],
    image_part: ImagePart,
    safe_png: bytes,
) -> None:
    async with connected(engine, fast_reader, settings) as client:
        said = await detail(client, image_part(safe_png))
        assert await fast_path_of(client) is None

    assert said["judged_by"] == ["model"]
    assert "+fast-" not in said["model_version"]
    assert len(engine.questions) == 1


async def test_a_policy_without_a_fast_path_loads_no_head(
    engine: StubEngine, settings: dict[str, Any]
) -> None:
    def never() -> FastReader:
        raise AssertionError("loaded for nothing")

    async with connected(engine, never, {"calibration": settings["calibration"]}) as client:
        assert await fast_path_of(client) is None


def write_policy(path: Path, *, fast_path: str) -> None:
    path.write_text(json.dumps(json.loads(POLICY_FILE.read_text()) | {"fast_path": fast_path}))


@asynccontextmanager
async def live(
    engine: StubEngine, fast_reader: Callable[[], FastReader], settings: dict[str, Any]
) -> AsyncIterator[tuple[httpx2.AsyncClient, FastAPI]]:
    """An app whose files are looked at when the test says so."""
    settings = {"cache": "off", "policy_poll_s": 3600.0, **settings}
    app = create_app(Settings.model_validate(settings), engine=engine, fast_reader=fast_reader)
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, app


async def test_a_policy_that_switches_it_on_opens_it_and_one_that_switches_it_off_is_obeyed(
    engine: StubEngine, settings: dict[str, Any], image_part: ImagePart, safe_png: bytes
) -> None:
    write_policy(settings["policy"], fast_path="off")
    head, white = Head(), image_part(safe_png)
    judged_by, drifts = [], []
    async with live(engine, lambda: head, settings) as (client, app):
        services = app.state.services
        for use in ("off", "both", "off", "allow_only"):
            write_policy(settings["policy"], fast_path=use)
            await services.policies.refresh()
            async with asyncio.timeout(60):
                while not await is_used(services, use):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            said = await detail(client, white)
            judged_by += said["judged_by"]
            drifts.append(said["model_version"] in (await client.get("/metrics")).text)
    assert judged_by == ["model", "safety_head", "model", "safety_head"]
    assert all(drifts), "the model that is served is named as it is now"
    assert head.is_closed


async def is_used(services: Services, use: str) -> bool:
    path = services.engine_host.serving.moderator.fast_path
    return ("off" if path is None else path.use) == use


def reasons_for_judging_in_full(logs: list[Any]) -> list[str]:
    return [one["reason"] for one in logs if one["event"] == "every picture is judged in full"]


async def test_one_that_cannot_be_opened_live_is_logged_and_the_model_judges_everything(
    engine: StubEngine, settings: dict[str, Any], image_part: ImagePart, safe_png: bytes
) -> None:
    write_policy(settings["policy"], fast_path="off")
    tried = threading.Event()

    def no_head_now() -> FastReader:
        tried.set()
        raise NoFastPathError("the model has no safety modules")

    with capture_logs() as logs:
        async with live(engine, no_head_now, settings) as (client, app):
            write_policy(settings["policy"], fast_path="both")
            await app.state.services.policies.refresh()
            assert await asyncio.to_thread(tried.wait, 60)
            async with asyncio.timeout(60):
                while not (reasons := reasons_for_judging_in_full(logs)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            said = await detail(client, image_part(safe_png))
    assert said["judged_by"] == ["model"]
    assert "no safety modules" in reasons[0]
