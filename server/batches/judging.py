"""One line of a batch: the same call as an interactive one, with an answer or an error of its own.

Policy, cache, lists, audit log and metrics are those of `server.api.moderate`; what differs is that
a batch waits where the model can't be asked, instead of leaving the line unjudged.
"""

import asyncio
import io
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from starlette.datastructures import UploadFile

from server.api.call import ModerationCall, UploadInput, call_from_json, checked_call
from server.api.engine_session import Serving
from server.api.errors import RefusedInputError, error_object, rule_for
from server.api.json_body import parse_json
from server.api.keys import KeyHolder
from server.api.moderate import CallHandler
from server.api.recording import Caller
from server.api.schemas import ModerationResponse, parse_moderation_request
from server.batches.facts import MAX_CUSTOM_ID_CHARS, BatchFacts
from server.batches.folder import BatchFolder
from server.batches.index import Entry, as_line
from server.concepts.policy_watch import LivePolicies
from server.errors import (
    BodyBytesError,
    DeadlineError,
    ImageBytesError,
    InputNotJudgedError,
    InvalidFieldError,
    SightwardError,
)
from server.settings import Settings
from server.telemetry import RequestRecord

ENDPOINT = "/v1/moderations"

_LINE_TIMEOUT_S = 600.0
_log = structlog.get_logger("server")


class ComeAgainError(Exception):
    """A line could not be judged now, through no fault of its own; `cause` says why.

    `asked` is what was asked in vain, None where nothing could be.
    """

    def __init__(self, cause: SightwardError, asked: object) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Answered:
    """A line's answer, as it stands in the results."""

    text: bytes
    is_error: bool


@dataclass(frozen=True, slots=True)
class LineJudge:
    """Judges lines; holds what they share and nothing of any one of them.

    `serving` raises the `EngineUnavailableError` that says why nothing can be asked.
    """

    handler: CallHandler
    serving: Callable[[], Serving]
    policies: LivePolicies
    settings: Settings

    async def answer(self, entry: Entry, facts: BatchFacts, folder: BatchFolder) -> Answered:
        """The line's answer or its own error; raises `ComeAgainError`, and `OSError`."""
        asked: object = None
        try:
            data = await asyncio.to_thread(_read, folder.input, entry, self._limit_bytes(entry))
            call = await asyncio.to_thread(self._call, entry, facts, data)
            asked = serving = self.serving()
            async with asyncio.timeout(_LINE_TIMEOUT_S):
                response = await self._response(call, serving, entry, facts)
        except TimeoutError:
            return failed_line(entry, DeadlineError(timeout_s=_LINE_TIMEOUT_S))
        except RefusedInputError as error:
            return failed_line(entry, error.cause, param=error.param)
        except SightwardError as error:
            if rule_for(error).status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise ComeAgainError(error, asked) from error
            return failed_line(entry, error)
        except OSError:
            raise
        except Exception as error:
            # One line nobody foresaw must not keep all the others from being judged.
            _log.exception("line of a batch failed", batch=facts.id, line=entry.line)
            return failed_line(entry, error)
        return _line(entry, response=response, error=None)

    def _limit_bytes(self, entry: Entry) -> int:
        is_picture = entry.kind == "picture"
        return self.settings.max_image_bytes if is_picture else self.settings.max_body_bytes

    def _call(self, entry: Entry, facts: BatchFacts, data: bytes) -> ModerationCall:
        if entry.kind == "picture":
            upload = UploadFile(io.BytesIO(data), size=len(data))
            inputs = (UploadInput("file", upload),)
            call = ModerationCall(inputs, not facts.options.per_input, facts.options)
        else:
            call = checked_call(
                call_from_json(parse_moderation_request(_body(parse_json(data)))), self.settings
            )
        if call.options.ids is not None:
            return call
        # So that the audit log knows the inputs by the caller's own name.
        ids = (entry.custom_id,) * len(call.inputs)
        return replace(call, options=call.options.model_copy(update={"ids": ids}))

    async def _response(
        self, call: ModerationCall, serving: Serving, entry: Entry, facts: BatchFacts
    ) -> Mapping[str, Any]:
        began_s = time.perf_counter()
        request_id = f"{facts.id}.{entry.line}"
        caller = Caller(
            holder=KeyHolder(id=facts.key_id, tenant=facts.tenant),
            policy=self.policies.of(facts.tenant),
            request_id=request_id,
            answer_id=f"modr-{uuid.uuid4().hex}",
            route="batches",
            can_wait=True,
        )
        record = RequestRecord(request_id=request_id, method="POST")
        results = await self.handler.results(
            call,
            serving.moderator,
            record,
            caller,
            began_s=began_s,
            writer=serving.writer,
        )
        answer = ModerationResponse(id=caller.answer_id, model=serving.card.id, results=results)
        return answer.model_dump(mode="json", exclude_unset=True)


def failed_line(entry: Entry, error: Exception, *, param: str | None = None) -> Answered:
    """The answer of a line that was not judged: an error, in the interactive endpoint's words."""
    shown = error_object(error, param=param)
    return _line(entry, response=None, error=shown.model_dump(mode="json"))


def unanswered_line(entry: Entry, code: str, message: str) -> Answered:
    """The answer of a line that nobody will judge any more."""
    error = {"message": message, "type": "batch_error", "param": None, "code": code}
    return _line(entry, response=None, error=error)


def given_up_line(entry: Entry) -> Answered:
    """The answer of a line on which the model died again and again."""
    return failed_line(entry, InputNotJudgedError())


def _line(
    entry: Entry, *, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None
) -> Answered:
    value = {
        "custom_id": entry.custom_id,
        "line": entry.line,
        "response": response,
        "error": error,
    }
    return Answered(as_line(value), is_error=error is not None)


def _read(path: Path, entry: Entry, limit_bytes: int) -> bytes:
    if entry.bytes > limit_bytes:
        if entry.kind == "picture":
            raise ImageBytesError(limit_bytes=limit_bytes, got_bytes=entry.bytes)
        raise BodyBytesError(limit_bytes=limit_bytes)
    with path.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.bytes)


def _body(value: object) -> object:
    """The request in a line: the line itself, or what OpenAI's Batch API wraps one in."""
    if not isinstance(value, dict):
        return value
    name = value.get("custom_id")
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= MAX_CUSTOM_ID_CHARS):
        raise InvalidFieldError(
            f"Invalid value at custom_id: it needs 1 to {MAX_CUSTOM_ID_CHARS} characters.",
            param="custom_id",
        )
    if "body" not in value or "input" in value:
        return value
    if value.get("url", ENDPOINT) != ENDPOINT:
        raise InvalidFieldError(
            f"Invalid value at url: lines are for {ENDPOINT} alone.", param="url"
        )
    return value["body"]
