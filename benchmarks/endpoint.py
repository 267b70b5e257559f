"""A running moderation endpoint as the benchmarks see it: one input in, one judged answer out."""

import base64
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from server.errors import SightwardError

_TIMEOUT = httpx2.Timeout(120.0, connect=5.0)
# Servers close idle connections after some seconds (Uvicorn: 5). One that is reused at that very
# moment loses its request, which would end a whole run.
_KEEP_IDLE_S = 1.0


class EndpointError(SightwardError):
    """The endpoint can't be measured at all; `reason` says why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class _Likeliest(BaseModel):
    name: str


class _Recognised(BaseModel):
    category: _Likeliest
    concept: _Likeliest | None


class _Detail(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    outcome: Literal["safe", "unsafe", "undetermined"]
    p_unsafe: float | None
    recognised: _Recognised | None
    model_version: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What the endpoint said about one input.

    `failure` is the error's code (or the HTTP status) when it refused; then `outcome` is
    undetermined and nothing else is known. `latency_ms` is the client's wall clock, from before the
    request is written until its answer is read.
    """

    outcome: Literal["safe", "unsafe", "undetermined"]
    p_unsafe: float | None
    category: str | None
    concept: str | None
    latency_ms: float
    failure: str | None = None


class Endpoint:
    """Asks ``POST {url}/v1/moderations`` with our `detail` extra; an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        max_connections: int = 64,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._client = httpx2.AsyncClient(
            base_url=self._url,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=_TIMEOUT,
            limits=httpx2.Limits(max_connections=max_connections, keepalive_expiry=_KEEP_IDLE_S),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def model_version(self) -> str:
        """What is served, exactly; raises `EndpointError` when it is not ready to be measured."""
        try:
            ready = await self._client.get("/readyz")
            if ready.status_code != httpx2.codes.OK:
                raise EndpointError(self._url, f"not ready, /readyz says {ready.status_code}")
            models = await self._client.get("/v1/models")
            models.raise_for_status()
            return str(models.json()["data"][0]["sightward"]["model_version"])
        except httpx2.HTTPError as error:
            raise EndpointError(self._url, f"{type(error).__name__}: {error}") from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EndpointError(self._url, "/v1/models does not name a model version") from error

    async def judge_image(self, data: bytes, *, media_type: str) -> Judged:
        """Judge one encoded picture, sent as a data URL."""
        url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        asked = [{"type": "image_url", "image_url": {"url": url}}]
        return await self._judge({"input": asked, "sightward": {"detail": True}})

    async def judge_text(self, text: str) -> Judged:
        """Judge one text."""
        return await self._judge({"input": text, "sightward": {"detail": True}})

    async def _judge(self, body: dict[str, Any]) -> Judged:
        """Send a body that asks for detail; a refusal is an answer too, and is not retried.

        Raises `EndpointError` when no answer comes or it is not one of this service.
        """
        began_s = time.perf_counter()
        try:
            response = await self._client.post("/v1/moderations", json=body)
        except httpx2.HTTPError as error:
            raise EndpointError(self._url, f"{type(error).__name__}: {error}") from error
        latency_ms = (time.perf_counter() - began_s) * 1000
        if response.status_code != httpx2.codes.OK:
            return Judged("undetermined", None, None, None, latency_ms, _error_code(response))
        try:
            detail = _Detail.model_validate(response.json()["results"][0]["sightward"])
        except (KeyError, IndexError, TypeError, ValidationError) as error:
            raise EndpointError(self._url, "a result carries no `sightward` detail") from error
        seen = detail.recognised
        return Judged(
            outcome=detail.outcome,
            p_unsafe=detail.p_unsafe,
            category=seen.category.name if seen else None,
            concept=seen.concept.name if seen and seen.concept else None,
            latency_ms=latency_ms,
        )


def _error_code(response: httpx2.Response) -> str:
    try:
        code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    return str(code or response.status_code)
