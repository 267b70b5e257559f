"""An app with several stub models, an administrator, and a client for both."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from server.api.app import create_app
from server.api.services import Services
from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.errors import EngineStartError
from server.rollout.orders import ModelOrder
from server.rollout.parts import ModelParts
from server.settings import Settings

ADMIN, CALLER = "administrator's key", "caller's key"
BY_ADMIN = {"authorization": f"Bearer {ADMIN}"}
BY_CALLER = {"authorization": f"Bearer {CALLER}"}
MODELS = "/v1/admin/models"


def hashed(key: str, scope: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}:{scope}"


def stub(name: str, *, p_unsafe: float = 0.1) -> StubEngine:
    """A model that finds everything equally unsafe; the default question says so by "no"."""

    def judge(question: Question) -> Answer:
        return Answer(option_mass={"yes": 1.0 - p_unsafe, "no": p_unsafe})

    version = hashlib.sha256(name.encode()).hexdigest()[:12]
    return StubEngine(judge, card=ModelCard(name, version, has_recognition=True))


class Rollout:
    """An app of several models as callers and its administrator see it.

    `further` are the engines of the models that can be loaded, by what they are loaded from.
    """

    def __init__(self, app: FastAPI, client: httpx2.AsyncClient, further: dict[str, StubEngine]):
        self.app, self.client, self.further = app, client, further
        self.by_admin = BY_ADMIN

    @property
    def services(self) -> Services:
        found: Services = self.app.state.services
        return found

    async def admin(self, method: str, path: str = "", **body: Any) -> httpx2.Response:
        given = {"json": body} if body else {}
        return await self.client.request(method, MODELS + path, headers=BY_ADMIN, **given)

    async def load(self, model: str, name: str) -> None:
        response = await self.admin("POST", model=model, name=name)
        assert response.status_code == 202, response.text
        await self.services.models.named(name).host.settled()

    async def ask(self, text: str) -> httpx2.Response:
        body = {"input": text, "sightward": {"detail": True}}
        return await self.client.post("/v1/moderations", json=body, headers=BY_CALLER)

    async def judge_of(self, text: str) -> str:
        """The id of the model whose verdict a text got."""
        response = await self.ask(text)
        assert response.status_code == 200, response.text
        version: str = response.json()["results"][0]["sightward"]["model_version"]
        return version.partition("@")[0]

    async def compared(self) -> None:
        """Wait for what is being compared."""
        while self.services.call_handler.comparer._running:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def metric(self, name: str, **labels: str) -> float:
        return self.services.metrics.registry.get_sample_value(name, labels) or 0.0


Connect = Callable[..., AbstractAsyncContextManager[Rollout]]


@asynccontextmanager
async def _connected(
    default: StubEngine, further: Mapping[str, StubEngine], settings: dict[str, Any]
) -> AsyncIterator[Rollout]:
    engines = dict(further)

    def maker(order: ModelOrder) -> ModelParts:
        if order.spec not in engines:
            raise EngineStartError(f"not enough memory for {order.spec}")
        return ModelParts(lambda: engines[str(order.spec)])

    keys = (hashed(ADMIN, "moderate+admin"), hashed(CALLER, "moderate"))
    given = {"api_keys": keys, "cache": "off", **settings}
    app = create_app(Settings.model_validate(given), engine=default, model_maker=maker)
    async with app.router.lifespan_context(app):
        await app.state.services.models.settled()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield Rollout(app, client, engines)


@pytest.fixture
def rollout() -> Connect:
    """``async with rollout(default, {"reference:sft": engine}, canary_percent=20) as models``."""

    def connect(
        default: StubEngine | None = None,
        further: Mapping[str, StubEngine] | None = None,
        **settings: Any,
    ) -> AbstractAsyncContextManager[Rollout]:
        others = {"reference:sft": stub("new", p_unsafe=0.9)} if further is None else further
        return _connected(default or stub("old"), others, settings)

    return connect


@pytest.fixture
def make_stub() -> Callable[..., StubEngine]:
    """``make_stub("new", p_unsafe=0.9)``: a model that says so of everything."""
    return stub
