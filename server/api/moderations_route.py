"""``POST /v1/moderations``: texts and pictures in, verdicts out."""

import asyncio
import time
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from server.api.call import read_call
from server.api.client_leaving import unless_left
from server.api.deadline import seconds_left
from server.api.errors import ErrorBody
from server.api.keys import key_holder
from server.api.recording import Caller
from server.api.request_record import record_of
from server.api.schemas import ModerationRequest, ModerationResponse, SightwardOptions
from server.api.services import ServicesDep

router = APIRouter()

_ANSWER_TAKES_S = 0.1

POLICY_HEADER = "x-sightward-policy"
"""Names the policy that an answer was given under, also where no detail was asked for."""

_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 408, 413, 422, 429, 500, 503, 504)
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": ModerationRequest.model_json_schema(
                    ref_template="#/paths/~1v1~1moderations/post/requestBody/content/"
                    "application~1json/schema/$defs/{model}"
                )
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                        },
                        "input": {
                            "type": "array",
                            "items": {"type": "string", "minLength": 1},
                            "minItems": 1,
                        },
                        "model": {"type": "string"},
                        "sightward": SightwardOptions.model_json_schema(),
                    },
                    "anyOf": [{"required": ["file"]}, {"required": ["input"]}],
                },
                "encoding": {"sightward": {"contentType": "application/json"}},
            },
        },
    }
}


@router.post(
    "/v1/moderations",
    response_model=ModerationResponse,
    responses=_ERROR_RESPONSES,
    openapi_extra=_BODY,
)
async def create_moderation(request: Request, services: ServicesDep) -> JSONResponse:
    """Judge texts and pictures.

    The body is JSON as the original endpoint takes it, or a form with `file` parts and `input`
    texts; `sightward` in it asks for one result an input (`per_input`) and for detail (`detail`).
    """
    began_s = time.perf_counter()
    record = record_of(request.scope)
    # Before the body is read: while the model is loading there is no use in reading it.
    serving = services.engine_host.serving
    holder = key_holder(request)
    caller = Caller(
        holder=holder,
        policy=services.policies.of(holder.tenant),
        request_id=record.request_id,
        answer_id=f"modr-{uuid.uuid4().hex}",
        route="moderations",
        answer_by_s=_answer_by_s(request),
    )
    try:
        call = await read_call(request, services.settings)
        results = await unless_left(
            request,
            services.call_handler.results(
                call,
                serving.moderator,
                record,
                caller,
                began_s=began_s,
                writer=serving.writer,
            ),
        )
    finally:
        await request.close()
        services.metrics.observe("total", (time.perf_counter() - began_s) * 1000)
    response = ModerationResponse(id=caller.answer_id, model=serving.card.id, results=results)
    # Unset is left out (extras nobody asked for), null is kept (a probability that is not known).
    return JSONResponse(
        response.model_dump(mode="json", exclude_unset=True),
        headers={POLICY_HEADER: caller.policy.version},
    )


def _answer_by_s(request: Request) -> float | None:
    """A little before the request's deadline, when there is still time to answer."""
    left_s = seconds_left(request.scope)
    if left_s is None:
        return None
    return asyncio.get_running_loop().time() + left_s - min(_ANSWER_TAKES_S, left_s / 2)
