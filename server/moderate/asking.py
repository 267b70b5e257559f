"""Asks a service, far away or in this process, about one file at a time.

Refusals that will pass (no turn, no model yet, a connection that broke) are tried again when the
service says, else with growing pauses; what concerns one file alone becomes its row.
"""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2
import stamina

from server.audit.judge import UNREADABLE_FILE
from server.audit.tables import MISSING_FILE
from server.moderate.errors import ModerateError, NoAnswerError
from server.moderate.files import NamedFile
from server.moderate.rows import FileRow, failed_row, row_of

MAX_FILE_BYTES = 128 * 1024 * 1024
"""More is no picture that any service takes, and is not read."""
_PATIENCE_S = 300.0
_LONGEST_PAUSE_S = 30.0
_PASSING = frozenset({408, 429, 502, 503})
_USAGE = frozenset({401, 403, 404, 405})


class _PassingError(Exception):
    """A refusal that will pass."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(_message(response))
        self.pause_s = _pause_s(response.headers)


class Asker:
    """Asks by `client`, whose base address is the service's."""

    def __init__(self, client: httpx2.AsyncClient, *, patience_s: float = _PATIENCE_S) -> None:
        self._client = client
        self._patience_s = patience_s

    async def row(self, file: NamedFile) -> FileRow:
        """The file's row.

        Raises `NoAnswerError` when the service is gone for good, and `ModerateError` where it says
        that we may not ask, or is none of ours.
        """
        if file.error:
            return failed_row(file.name, file.error, file.problem)
        try:
            data = await asyncio.to_thread(_read, file.name)
        except FileNotFoundError as error:
            return failed_row(file.name, MISSING_FILE, error.strerror or "")
        except (OSError, ValueError) as error:
            return failed_row(file.name, UNREADABLE_FILE, getattr(error, "strerror", "") or "")
        if data is None:
            return failed_row(file.name, "image_too_large", f"more than {MAX_FILE_BYTES} bytes")
        try:
            response = await self._answer(data, file.name)
        except _PassingError as error:
            raise NoAnswerError(f"the service takes nothing: {error}") from error
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise NoAnswerError(f"{self._client.base_url}: {reason}") from error
        return self._row(file.name, response)

    async def _answer(self, data: bytes, name: str) -> httpx2.Response:
        options = {"detail": True, "per_input": True, "ids": [name[-500:]]}
        is_text = name.isprintable()  # half a surrogate stands for bytes that are no text
        form = {"sightward": json.dumps(options if is_text else {**options, "ids": None})}
        async for attempt in stamina.retry_context(
            on=_pause_before_retry,
            attempts=None,
            timeout=self._patience_s,
            wait_initial=0.2,
            wait_max=10.0,
        ):
            with attempt:
                response = await self._client.post(
                    "v1/moderations", files=[("file", ("picture", data))], data=form
                )
                if response.status_code in _PASSING:
                    raise _PassingError(response)
        return response

    def _row(self, name: str, response: httpx2.Response) -> FileRow:
        status = response.status_code
        if status in _USAGE:
            raise ModerateError(f"{self._client.base_url}: {_message(response)}")
        if status != HTTPStatus.OK:
            error = _error_of(response)
            return failed_row(name, error.get("code") or f"status_{status}", _message(response))
        try:
            return row_of(name, response.json()["results"][0])
        except (ValueError, LookupError, TypeError) as error:
            raise ModerateError(
                f"{self._client.base_url}: its answers are not this service's"
            ) from error


def _read(name: str) -> bytes | None:
    """The file's bytes; None where there are too many."""
    with Path(name).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    return data if len(data) <= MAX_FILE_BYTES else None


def _pause_before_retry(error: Exception) -> bool | float:
    """Whether to try again, or in how many seconds."""
    if isinstance(error, _PassingError):
        return True if error.pause_s is None else error.pause_s
    return isinstance(error, httpx2.TransportError)


def _pause_s(headers: Mapping[str, str]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return min(_LONGEST_PAUSE_S, max(0.0, float(headers[name]) * unit_s))
        except (KeyError, ValueError):
            continue
    return None


def _error_of(response: httpx2.Response) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _message(response: httpx2.Response) -> str:
    return str(_error_of(response).get("message") or f"status {response.status_code}")
