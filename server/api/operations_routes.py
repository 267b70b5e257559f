"""What whoever runs the service asks: is it alive, does it answer, how is it doing."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, generate_latest

from server.api.services import ServicesDep

router = APIRouter()


@router.get("/livez")
async def livez() -> JSONResponse:
    """The process runs; says nothing about the model."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
async def readyz(services: ServicesDep) -> JSONResponse:
    """The model answered a question just now; 503 in the documented shape if it did not."""
    await services.engine_host.require_ready()
    services.lifecycle.require_open()
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(services: ServicesDep) -> Response:
    """Our metrics, then those that vLLM and the Prometheus client keep for the process."""
    exposition = generate_latest(services.metrics.registry) + generate_latest(REGISTRY)
    return Response(exposition, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
