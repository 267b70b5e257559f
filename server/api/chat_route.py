"""``POST /v1/chat/completions``: a conversation in, a guarded answer out, whole or in pieces.

Everything up to the answer's first words happens before the response begins, so that a refusal has
its own status, streamed or not.
"""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from server.api.chat_answers import AnswerWriter, ChatChunk, ChatCompletion
from server.api.chat_call import read_chat_call
from server.api.chat_schemas import ChatRequest
from server.api.client_leaving import unless_left
from server.api.errors import ErrorBody, error_object
from server.api.keys import key_holder
from server.api.recording import Caller
from server.api.request_record import record_of
from server.api.services import ServicesDep
from server.engine.conversation import Piece, gathered
from server.errors import ChatUnsupportedError, SightwardError, UnusableAnswerError
from server.telemetry import Metrics, RequestRecord

router = APIRouter()

_AT = "#/paths/~1v1~1chat~1completions/post"
_CHUNK = (
    f"{_AT}/responses/200/content/text~1event-stream/schema/properties/data/oneOf/1/contentSchema"
)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ChatCompletion,
        "content": {
            "text/event-stream": {
                "schema": {  # of one event
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": {
                            "oneOf": [
                                {"const": "[DONE]"},
                                {
                                    "type": "string",
                                    "contentMediaType": "application/json",
                                    "contentSchema": ChatChunk.model_json_schema(
                                        ref_template=f"{_CHUNK}/$defs/{{model}}"
                                    ),
                                },
                            ]
                        }
                    },
                }
            }
        },
    },
    **{
        status: {"model": ErrorBody}
        for status in (400, 401, 403, 408, 413, 422, 429, 500, 503, 504)
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": ChatRequest.model_json_schema(
                    ref_template=f"{_AT}/requestBody/content/application~1json/schema/"
                    "$defs/{model}"
                )
            }
        },
    }
}


@router.post("/v1/chat/completions", responses=_RESPONSES, openapi_extra=_BODY)
async def create_chat_completion(request: Request, services: ServicesDep) -> Response:
    """Answer a conversation about pictures, each of which is judged first.

    `sightward` in the answer says how it was judged, which hint that gave the model, and whether
    the server declined in the model's place.
    """
    began_s = time.perf_counter()
    record = record_of(request.scope)
    serving = services.engine_host.serving
    if serving.writer is None:
        raise ChatUnsupportedError
    call = await read_chat_call(request, services.settings)
    holder = key_holder(request)
    caller = Caller(
        holder=holder,
        policy=services.policies.of(holder.tenant),
        request_id=record.request_id,
        answer_id=f"chatcmpl-{uuid.uuid4().hex}",
        route="chat",
    )
    reply = await unless_left(
        request,
        services.chat_handler.reply(
            call, serving.moderator, serving.writer, record, caller, began_s=began_s
        ),
    )
    answer = AnswerWriter(
        id=caller.answer_id,
        created=int(time.time()),
        model=serving.card.id,
        fingerprint=serving.card.version,
        detail=reply.detail,
        wants_usage=call.wants_usage,
    )
    if not call.is_streamed:
        written = await unless_left(request, gathered(reply.pieces))
        _note(written.tokens, record, services.metrics)
        return JSONResponse(answer.whole(written).model_dump(mode="json"))
    try:
        first = await unless_left(request, anext(reply.pieces))
    except BaseException:
        await reply.pieces.aclose()
        raise
    return _EventStream(_events(answer, first, reply.pieces, record, services.metrics))


async def _events(
    answer: AnswerWriter,
    first: Piece,
    rest: AsyncGenerator[Piece],
    record: RequestRecord,
    metrics: Metrics,
) -> AsyncGenerator[bytes]:
    """The answer as server-sent events; one that breaks off ends with an error in their place."""
    last = first
    async with aclosing(rest):
        try:
            yield answer.opening()
            if first.text:
                yield answer.words(first.text)
            if first.end is None:
                async for last in rest:
                    if last.text:
                        yield answer.words(last.text)
            if last.end is None:
                raise UnusableAnswerError("the answer broke off")
            yield answer.closing(last)
        except SightwardError as error:
            shown = error_object(error)
            record.error_code = shown.code
            yield answer.failure(shown)
        except Exception as error:
            # The status is sent already, and an unknown error's text never is.
            shown = error_object(error)
            record.error_code = shown.code
            structlog.get_logger("server").error("answer broke off", exc_info=error)
            yield answer.failure(shown)
        finally:
            _note(last.tokens, record, metrics)


class _EventStream(StreamingResponse):
    """Closes its events however it ends, so that a client that leaves stops the model."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


def _note(tokens: int, record: RequestRecord, metrics: Metrics) -> None:
    record.answer_tokens = tokens
    metrics.answer_tokens.inc(tokens)
