"""HTTP to one chat endpoint: requests go out with retries, completions or typed errors come back.

Which failure is whose:

- those that may pass (no connection, 408, 409, 425, 429, 5xx) are tried again, and when they don't
  pass the endpoint is unavailable;
- those that hit every question alike (key, payment, model, address) make it unavailable at once;
- what remains is said about one request: `RefusedError`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import stamina
from pydantic import ValidationError

from server.engine.remote.address import Address
from server.engine.remote.refusals import Refusal
from server.engine.remote.retries import Patience, TransientError, requested_wait_s, retry_hook
from server.engine.remote.wire import Completion, ModelList
from server.errors import EngineUnavailableError, UnusableAnswerError

_OK = 200
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
# Not implemented, and a version of HTTP: a server error that no repetition mends.
_LASTING_SERVER_ERRORS = frozenset({501, 505})


class RefusedError(Exception):
    """The endpoint won't take this request as it is. Never leaves this package."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class ChatEndpoint:
    """One model at one address; `max_connections` are open at a time, one more for `list_models`.

    No method's errors hold the key or any part of the address but its host.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        *,
        patience: Patience,
        max_connections: int,
        trust_env: bool,
    ) -> None:
        self._address = address
        self._model = model
        self._patience = patience
        self._client = httpx2.AsyncClient(
            auth=address.auth,
            timeout=httpx2.Timeout(patience.silence_s, connect=patience.connect_s, pool=None),
            limits=httpx2.Limits(max_connections=max_connections + 1),
            follow_redirects=False,
            trust_env=trust_env,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def list_models(self) -> ModelList | None:
        """What ``GET /models`` says; None from an endpoint that offers no such list.

        Asked once, never again: this also tells whether anything listens at the address. Raises
        `EngineUnavailableError` when nothing does.
        """
        try:
            response = await self._request("GET", self._address.models)
        except TransientError as error:
            raise EngineUnavailableError(error.reason) from None
        if response.status_code != _OK:
            return None
        try:
            return ModelList.model_validate_json(response.content)
        except ValidationError:
            return None

    async def complete(self, fields: Mapping[str, Any]) -> Completion:
        """Ask for one completion; `fields` join the model's name in the body.

        Raises `RefusedError`, `UnusableAnswerError` for an answer that is no completion, and
        `EngineUnavailableError`.
        """
        body = {"model": self._model, **fields}
        attempt_number = 0
        try:
            async for attempt in stamina.retry_context(
                on=retry_hook(self._patience),
                attempts=self._patience.attempts,
                timeout=self._patience.total_s,
                wait_initial=0.5,
                wait_max=30.0,
            ):
                with attempt:
                    attempt_number = attempt.num
                    response = await self._request("POST", self._address.completions, body)
                    return self._completion(response)
        except TransientError as error:
            wait = "" if error.wait_s is None else f", it asks to wait {error.wait_s:.0f} s"
            raise EngineUnavailableError(
                f"{error.reason} ({attempt_number} attempts{wait})"
            ) from None
        raise AssertionError("stamina leaves the loop by return or exception")

    async def _request(
        self, method: str, url: httpx2.URL, body: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        """One exchange; raises `TransientError` when it can't be finished."""
        host = self._address.host
        try:
            async with asyncio.timeout(self._patience.attempt_s):
                return await self._client.request(method, url, json=body)
        except TimeoutError:
            reason = f"{host} gave no whole answer within {self._patience.attempt_s:g} s"
        except httpx2.ConnectTimeout:
            reason = f"no connection to {host} within {self._patience.connect_s:g} s"
        except httpx2.TimeoutException:
            reason = f"{host} was silent for {self._patience.silence_s:g} s"
        except httpx2.ConnectError as error:
            reason = f"no connection to {host}: {error}"
        except httpx2.RequestError as error:
            reason = f"the connection to {host} broke ({type(error).__name__})"
        # The original error holds the request, and that the key.
        raise TransientError(reason) from None

    def _completion(self, response: httpx2.Response) -> Completion:
        status = response.status_code
        if status == _OK:
            try:
                return Completion.model_validate_json(response.content)
            except ValidationError as error:
                inner_status = _inner_status(response)
                if inner_status is None:
                    problem = error.errors(include_url=False, include_input=False)[0]
                    place = ".".join(str(step) for step in problem["loc"])
                    at = f" at {place}" if place else ""
                    raise UnusableAnswerError(
                        f"{self._address.host} sent no chat completion: {problem['msg']}{at}"
                    ) from None
                status = inner_status
        refusal = Refusal.read(status, response.content, hide=self._address.secrets)
        raise self._failure(refusal, response.headers)

    def _failure(self, refusal: Refusal, headers: Mapping[str, str]) -> Exception:
        status, host = refusal.status, self._address.host
        if refusal.code == "insufficient_quota":
            return EngineUnavailableError(f"the quota at {host} is used up ({status})")
        if status in _TRANSIENT_STATUSES or (
            status >= 500 and status not in _LASTING_SERVER_ERRORS
        ):
            said = f": {refusal.message}" if refusal.message else ""
            return TransientError(
                f"{host} answers {status}{said}", wait_s=requested_wait_s(headers)
            )
        if status in {400, 403, 422} and refusal.is_filtered:
            return RefusedError(refusal)
        if status == 401:
            said = "refuses the key" if self._address.secrets else "wants a key"
            return EngineUnavailableError(f"{host} {said} (401)")
        if status == 402:
            return EngineUnavailableError(f"{host} wants to be paid first (402)")
        if status == 403 and not refusal.names_logprobs:
            return EngineUnavailableError(f"{host} does not let this key use {self._model!r} (403)")
        if status == 404 and self._model in refusal.message:
            return EngineUnavailableError(f"{host} has no model {self._model!r} (404)")
        # A relay says this of a model that reads words alone.
        if status == 404 and "image" in refusal.message.lower():
            return RefusedError(refusal)
        if status in {404, 405}:
            return EngineUnavailableError(
                f"{host} has no model {self._model!r}, or its base address is another, which "
                f"mostly ends in /v1 ({status})"
            )
        if 300 <= status < 400:
            return EngineUnavailableError(
                f"{host} points to another address ({status}); name that one, redirects are not "
                "followed"
            )
        return RefusedError(refusal)


def _inner_status(response: httpx2.Response) -> int | None:
    """The status of an error that comes as a 200, as relays send it; None when there is none."""
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return None
    if error is None:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 400
