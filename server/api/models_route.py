"""``GET /v1/models``: the models that answer, and what they carry: the default, and a canary."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from server.api.engine_session import Serving
from server.api.errors import ErrorBody
from server.api.keys import key_holder
from server.api.services import Services, ServicesDep
from server.cascade import FastPath
from server.concepts.fast_path import FastPathUse
from server.concepts.policy_book import TenantPolicy
from server.concepts.risk import LEVELS
from server.rollout.hosted import HostedModel

router = APIRouter()


class RiskCarried(BaseModel):
    """What the model's safety head tells apart: levels from 0 (clean) up, and types."""

    levels: list[int]
    types: list[str]


class FastPathCarried(BaseModel):
    """Pictures that the safety head judges alone: up to `allow_below`, and from `block_above` on.

    The thresholds are the calibration's under the policy's rules; null: it never says that alone.
    """

    use: FastPathUse
    head: str
    allow_below: float | None
    block_above: float | None

    @classmethod
    def of(cls, path: FastPath | None) -> "FastPathCarried | None":
        """`path` as JSON; None where the whole model judges everything."""
        if path is None:
            return None
        return cls(
            use=path.use,
            head=path.head,
            allow_below=path.bounds.allow_below,
            block_above=path.bounds.block_above,
        )


class ChatCarried(BaseModel):
    """How the chat route answers.

    `hints`: whether any are given; `hint_types`: for which categories the policy has them switched
    on. `judges_words`: whether words are judged, without which no conversation lacks a picture.
    """

    hints: bool
    hint_types: dict[str, bool]
    judges_words: bool
    max_images: int
    max_tokens: int


class ModelDetail(BaseModel):
    """What the model carries, and what tells two servers of one model id apart.

    `risk` is null for a model without a safety head, `fast_path` where that judges nothing alone,
    `chat` for one that writes no answers,
    `calibration` (a version) where scores are raw, `adapter` (a name) where none is applied live.
    `own_concepts` are those that the caller's policy adds to the taxonomy's. `role` is what it is
    for, `percent` the share of the contents that a canary answers.
    """

    role: Literal["default", "canary"]
    percent: float | None
    model_version: str
    has_recognition: bool
    categories: list[str]
    risk: RiskCarried | None
    fast_path: FastPathCarried | None
    calibration: str | None
    adapter: str | None
    chat: ChatCarried | None
    own_concepts: list[str]
    policy_version: str


class Model(BaseModel):
    """A model, in the shape that OpenAI's clients read."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["sightward"] = "sightward"
    sightward: ModelDetail


class ModelList(BaseModel):
    """The models that answer: the default first, then a canary if there is one."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/v1/models", responses={code: {"model": ErrorBody} for code in (401, 403, 503)})
async def list_models(request: Request, services: ServicesDep) -> ModelList:
    """The models that answer. Which of them a content goes to is not the caller's to choose.

    Any name in a moderation call is taken as an alias.
    """
    models = services.models
    in_force = services.policies.of(key_holder(request).tenant)
    shown = [_model(services, models.default, models.default.host.serving, in_force)]
    canary = models.roles.canary
    if canary is not None and (serving := models.serving(canary.name)) is not None:
        shown.append(
            _model(services, models.named(canary.name), serving, in_force, percent=canary.percent)
        )
    return ModelList(data=shown)


def _model(
    services: Services,
    hosted: HostedModel,
    serving: Serving,
    in_force: TenantPolicy,
    *,
    percent: float | None = None,
) -> Model:
    settings, policy = services.settings, in_force.policy
    categories = services.call_handler.taxonomy.category_names
    adapter = hosted.order.adapter
    detail = ModelDetail(
        role="default" if percent is None else "canary",
        percent=percent,
        model_version=serving.moderator.model_version,
        has_recognition=serving.card.has_recognition,
        categories=list(categories),
        risk=RiskCarried(levels=list(range(LEVELS)), types=list(serving.card.risk_types))
        if serving.card.has_risk
        else None,
        fast_path=FastPathCarried.of(serving.moderator.fast_path),
        calibration=serving.moderator.calibration_version,
        adapter=None if adapter is None else adapter.name,
        # The default writes every answer, whoever judged the conversation's pictures.
        chat=None
        if serving.writer is None or percent is not None
        else ChatCarried(
            hints=policy.hints.enabled,
            hint_types={name: policy.hints.is_on(name) for name in categories},
            judges_words=policy.chat.judge_words,
            max_images=settings.max_chat_images,
            max_tokens=settings.max_answer_tokens,
        ),
        own_concepts=[concept.name for concept in policy.own_concepts],
        policy_version=in_force.version,
    )
    return Model(id=serving.card.id, created=serving.since_unix_s, sightward=detail)
