"""``/v1/admin/models``: which models are loaded, what each is for, and how another takes over.

For keys with the scope admin alone. Loading and unloading answer at once and go on beside calls;
`GET` tells how far they are. A change of roles is in force when it has been answered.
"""

from typing import Annotated, Literal, Self, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.api.errors import ErrorBody
from server.api.json_body import parse_json
from server.api.keys import Name, key_holder
from server.api.lifecycle import Phase
from server.api.schemas import encodable, invalid_field
from server.api.services import Services, ServicesDep
from server.errors import DrainingError
from server.rollout.hosted import HostedModel, ModelState
from server.rollout.opening import load_rules
from server.rollout.roles import Role

Body = TypeVar("Body", bound=BaseModel)

router = APIRouter()

PATH = "/v1/admin/models"


def _responses(*more: int) -> dict[int | str, dict[str, object]]:
    return {status: {"model": ErrorBody} for status in (401, 403, 500, *more)}


def _body(model: type[BaseModel], **more: object) -> dict[str, object]:
    """`model` as a body's schema, and `more` that its fields alone can't say."""
    schema = {"application/json": {"schema": model.model_json_schema() | more}}
    return {"requestBody": {"required": True, "content": schema}}


def _with(**fields: object) -> dict[str, object]:
    return {"properties": fields, "required": list(fields)}


class _Order(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class LoadModel(_Order):
    """What to load: a model, an adapter on the default's weights, or an adapter on a model.

    `model` is a reference variant (reference:sft), a folder inside of the server's `models_dir`, or
    what its operator listed; `adapter` a folder there. `name` is how it is called from now on.
    """

    model: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    adapter: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    name: Name | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.model is None and self.adapter is None:
            raise ValueError("name a model, an adapter, or both")
        for given in (self.model, self.adapter):
            encodable(given or "")
        return self


class GiveRole(_Order):
    """What a model is for; `percent` of all contents: the canary's or the shadow's share.

    Left out, it is what the server's settings say.
    """

    role: Literal["canary", "shadow", "standby"]
    percent: Annotated[float | None, Field(ge=0, le=100, strict=False)] = None

    @model_validator(mode="after")
    def _has_its_share(self) -> Self:
        if self.role == "standby" and self.percent is not None:
            raise ValueError("who stands by has no percent")
        return self


class AdminModel(BaseModel):
    """A model that is loaded, or being loaded or unloaded.

    `model` is what it was loaded from, `id` and `model_version` what its verdicts are called by
    (null until it is ready), `on` whose weights an adapter is served on, `failure` why it last died
    or could not be loaded. `is_previous` marks the one that a roll back returns to.
    """

    name: str
    object: Literal["hosted_model"] = "hosted_model"
    state: ModelState
    role: Role
    percent: float | None
    is_previous: bool
    model: str
    on: str | None
    id: str | None
    model_version: str | None
    ready_since: int | None
    failure: str | None


class AdminModelList(BaseModel):
    """All models, in the order in which they came."""

    object: Literal["list"] = "list"
    data: list[AdminModel]


@router.get(PATH, response_model=AdminModelList, responses=_responses())
async def list_hosted_models(services: ServicesDep) -> AdminModelList:
    """Every model, with its role and how it is."""
    return AdminModelList(data=[_shown(one, services) for one in services.models.every])


@router.get(PATH + "/{name}", response_model=AdminModel, responses=_responses(400, 404))
async def get_hosted_model(name: Name, services: ServicesDep) -> AdminModel:
    """One model."""
    return _shown(services.models.named(name), services)


@router.post(
    PATH,
    status_code=202,
    response_model=AdminModel,
    responses=_responses(400, 409, 413, 503),
    openapi_extra=_body(
        LoadModel, anyOf=[_with(model={"type": "string"}), _with(adapter={"type": "string"})]
    ),
)
async def load_model(request: Request, services: ServicesDep) -> AdminModel:
    """Begin loading a model; it stands by once it is ready.

    Refused at once where it can't run here, for want of memory among others; what fails later is in
    its `failure`. What answers goes on either way.
    """
    if services.lifecycle.phase is Phase.DRAINING:
        raise DrainingError
    order = await _read(request, LoadModel)
    wanted = load_rules(services.settings).order(model=order.model, adapter=order.adapter)
    hosted = await services.model_changes.load(
        wanted, name=order.name or wanted.name, key_id=key_holder(request).id
    )
    return _shown(hosted, services)


@router.put(
    PATH + "/{name}/role",
    response_model=AdminModel,
    responses=_responses(400, 404, 409, 413),
    openapi_extra=_body(
        GiveRole,
        anyOf=[
            _with(role={"enum": ["canary", "shadow"]}),
            {"properties": {"percent": {"type": "null"}}},
        ],
    ),
)
async def give_role(name: Name, request: Request, services: ServicesDep) -> AdminModel:
    """Make a model the canary or the shadow, change its share, or have it stand by.

    There is one canary and one shadow: whoever was it before stands by.
    """
    wanted = await _read(request, GiveRole)
    role, settings = Role(wanted.role), services.settings
    usual = settings.canary_percent if role is Role.CANARY else settings.shadow_percent
    percent = usual if wanted.percent is None else wanted.percent
    hosted = await services.model_changes.give_role(
        name, role, percent, key_id=key_holder(request).id
    )
    return _shown(hosted, services)


@router.post(
    PATH + "/{name}/promote", response_model=AdminModel, responses=_responses(400, 404, 409)
)
async def promote_model(name: Name, request: Request, services: ServicesDep) -> AdminModel:
    """Make a model the default, if it answers right now; calls that have begun end as they began.

    The default before stays loaded and is what a roll back returns to.
    """
    hosted = await services.model_changes.promote(name, key_id=key_holder(request).id)
    return _shown(hosted, services)


@router.post("/v1/admin/rollback", response_model=AdminModel, responses=_responses(400, 409))
async def roll_back(request: Request, services: ServicesDep) -> AdminModel:
    """Make the default before the default again."""
    hosted = await services.model_changes.roll_back(key_id=key_holder(request).id)
    return _shown(hosted, services)


@router.delete(
    PATH + "/{name}",
    status_code=202,
    response_model=AdminModel,
    responses=_responses(400, 404, 409),
)
async def unload_model(name: Name, request: Request, services: ServicesDep) -> AdminModel:
    """Take a model's role at once, and its memory once nothing can be asking it any more."""
    hosted = await services.model_changes.unload(name, key_id=key_holder(request).id)
    return _shown(hosted, services)


async def _read(request: Request, body: type[Body]) -> Body:
    try:
        return body.model_validate(parse_json(await request.body()))
    except ValidationError as error:
        raise invalid_field(error, prefix="") from error


def _shown(hosted: HostedModel, services: Services) -> AdminModel:
    roles, serving = services.models.roles, hosted.serving
    return AdminModel(
        name=hosted.name,
        state=hosted.state,
        role=roles.role_of(hosted.name),
        percent=roles.percent_of(hosted.name),
        is_previous=roles.previous == hosted.name,
        model=str(hosted.order),
        on=hosted.on,
        id=None if serving is None else serving.card.id,
        model_version=None if serving is None else serving.moderator.model_version,
        ready_since=None if serving is None else serving.since_unix_s,
        failure=hosted.host.failure,
    )
