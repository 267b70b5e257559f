"""What whoever runs the service asks: is it alive, does it answer, how is it doing."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, generate_latest

from server.api.errors import ErrorBody
from server.api.services import ServicesDep

router = APIRouter()


@router.get("/livez")
async def livez() -> JSONResponse:
    """The process runs; says nothing about the model."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", responses={503: {"model": ErrorBody}})
async def readyz(services: ServicesDep) -> JSONResponse:
    """The model answered a question just now; 503 in the documented shape if it did not."""
    services.lifecycle.require_open()
    await services.engine_host.require_ready()
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        401: {"model": ErrorBody},
        403: {"model": ErrorBody},
    },
)
async def metrics(services: ServicesDep) -> Response:
    """Our metrics, then those that vLLM and the Prometheus client keep for the process."""
    services.models.show_metrics()
    exposition = generate_latest(services.metrics.registry) + generate_latest(REGISTRY)
    return Response(exposition, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
