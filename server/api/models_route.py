"""``GET /v1/models``: the one model that is served, and what it carries."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from server.api.services import ServicesDep

router = APIRouter()


class ModelDetail(BaseModel):
    """What tells two servers of one model id apart."""

    model_version: str
    has_recognition: bool
    categories: list[str]
    policy_version: str


class Model(BaseModel):
    """A model, in the shape that OpenAI's clients read."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["sightward"] = "sightward"
    sightward: ModelDetail


class ModelList(BaseModel):
    """All models that are served: one."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/v1/models")
async def list_models(services: ServicesDep) -> ModelList:
    """The served model. Any other model's name in a moderation call is taken as an alias of it."""
    serving = services.engine_host.serving
    detail = ModelDetail(
        model_version=serving.moderator.model_version,
        has_recognition=serving.card.has_recognition,
        categories=list(services.call_handler.taxonomy.category_names),
        policy_version=services.call_handler.policy.version,
    )
    return ModelList(
        data=[Model(id=serving.card.id, created=serving.since_unix_s, sightward=detail)]
    )
