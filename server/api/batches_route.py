"""``/v1/moderations/batches``: many requests in one upload, judged when there is time for them.

A batch belongs to the tenant of the key that sent it; for everybody else it does not exist.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from server.api.batch_schemas import Batch, BatchDeleted, BatchList, result_schema
from server.api.errors import ErrorBody
from server.api.keys import key_holder
from server.api.lifecycle import Phase
from server.api.schemas import ModerationRequest, SightwardOptions
from server.api.services import Services, ServicesDep
from server.batches.service import Batches
from server.batches.upload import UploadLimits, receive
from server.errors import DrainingError, NoBatchesError

router = APIRouter()

PATH = "/v1/moderations/batches"
MAX_PAGE = 100
BatchId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_NDJSON = "application/x-ndjson"
_MAX_AFTER = 2**53

_AT = "#/paths/~1v1~1moderations~1batches"


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in (400, 401, 403, 404, 500, 503, *statuses)}


def _line_schema() -> dict[str, Any]:
    at = f"{_AT}/post/requestBody/content/application~1x-ndjson/schema/$defs/{{model}}"
    schema = ModerationRequest.model_json_schema(ref_template=at)
    schema["properties"]["custom_id"] = {"type": "string", "minLength": 1, "maxLength": 500}
    schema["description"] = "Of one line: a request of the interactive endpoint, with a name."
    return schema


def _options_schema() -> dict[str, Any]:
    schema = SightwardOptions.model_json_schema()
    del schema["properties"]["ids"]  # pictures are named by their files
    return schema


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _NDJSON: {"schema": _line_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                            "description": "Pictures; a file's name is its custom_id.",
                        },
                        "requests": {
                            "type": "string",
                            "format": "binary",
                            "description": "JSON lines, as the other content type has them.",
                        },
                        "sightward": _options_schema(),
                    },
                    "anyOf": [{"required": ["file"]}, {"required": ["requests"]}],
                },
                "encoding": {"sightward": {"contentType": "application/json"}},
            },
        },
    }
}
_RESULTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answers there are, in the order in which they were given.",
        "content": {_NDJSON: {"schema": result_schema()}},
    },
    **_errors(),
}


_TAKEN: dict[int | str, dict[str, Any]] = {
    200: {
        "links": {
            name: {"operationId": name, "parameters": {"batch_id": "$response.body#/id"}}
            for name in ("show_batch", "batch_results", "cancel_batch", "delete_batch")
        }
    },
    **_errors(408, 413, 429, 504, 507),
}


@router.post(
    PATH,
    response_model=Batch,
    responses=_TAKEN,
    openapi_extra=_BODY,
)
async def create_batch(request: Request, services: ServicesDep) -> Batch:
    """Take a batch; its lines are judged in the background.

    The body is streamed to the disk: JSON lines, each a request of `POST /v1/moderations` with a
    `custom_id` of its own, or a form of `file` pictures and a `requests` file of such lines.
    """
    batches, settings = _batches(services), services.settings
    if services.lifecycle.phase is Phase.DRAINING:
        raise DrainingError
    limits = UploadLimits(settings.batches_max_lines, settings.body_timeout_s)
    facts, state = await batches.take(
        key_holder(request), lambda draft: receive(request, draft, limits)
    )
    return Batch.of(facts, state, batches.waiting_for(facts.id))


@router.get(PATH, response_model=BatchList, responses=_errors())
async def list_batches(
    request: Request,
    services: ServicesDep,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
) -> BatchList:
    """The batches of the key's tenant, newest first."""
    batches = _batches(services)
    found = await batches.page(key_holder(request).tenant, after=after, limit=limit + 1)
    data = [Batch.of(facts, state, batches.waiting_for(facts.id)) for facts, state in found[:limit]]
    return BatchList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get(f"{PATH}/{{batch_id}}", response_model=Batch, responses=_errors())
async def show_batch(batch_id: BatchId, request: Request, services: ServicesDep) -> Batch:
    """How far a batch is."""
    batches = _batches(services)
    facts, state = await batches.show(key_holder(request).tenant, batch_id)
    return Batch.of(facts, state, batches.waiting_for(batch_id))


@router.get(f"{PATH}/{{batch_id}}/results", response_class=StreamingResponse, responses=_RESULTS)
async def batch_results(
    batch_id: BatchId,
    request: Request,
    services: ServicesDep,
    after: Annotated[int, Query(ge=0, le=_MAX_AFTER)] = 0,
    limit: Annotated[int | None, Query(ge=1, le=_MAX_AFTER)] = None,
) -> StreamingResponse:
    """The answers there are by now, one JSON object a line, while the batch runs and afterwards.

    Lines stand in the order in which they were answered and never change: `after` leaves out so
    many of them, `limit` takes no more than so many, so the next page begins after all lines got.
    """
    blocks = await _batches(services).results(
        key_holder(request).tenant, batch_id, after=after, limit=limit
    )
    return StreamingResponse(_in_threads(blocks), media_type=_NDJSON)


@router.post(f"{PATH}/{{batch_id}}/cancel", response_model=Batch, responses=_errors(409, 507))
async def cancel_batch(batch_id: BatchId, request: Request, services: ServicesDep) -> Batch:
    """Have a batch end: lines in hand are finished, the others answered with an error."""
    batches = _batches(services)
    facts, state = await batches.cancel(key_holder(request).tenant, batch_id)
    return Batch.of(facts, state, batches.waiting_for(batch_id))


@router.delete(f"{PATH}/{{batch_id}}", response_model=BatchDeleted, responses=_errors(409, 507))
async def delete_batch(batch_id: BatchId, request: Request, services: ServicesDep) -> BatchDeleted:
    """Delete a batch that has ended, and all its results."""
    await _batches(services).delete(key_holder(request).tenant, batch_id)
    return BatchDeleted(id=batch_id)


def _batches(services: Services) -> Batches:
    if services.batches is None:
        raise NoBatchesError
    return services.batches


async def _in_threads(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
