"""``/v1/reviews``: what people are asked about, and what they decide.

A review is an input whose action was `review`, as the audit log has it. The picture is not in
there: it is named by its fingerprint and by the caller's own name for it. A decision is a new entry
of the log; of several the newest counts. For keys with the scope admin alone.
"""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.api.errors import ErrorBody
from server.api.json_body import parse_json
from server.api.keys import key_holder
from server.api.schemas import encodable, invalid_field
from server.api.services import Services, ServicesDep
from server.concepts.taxonomy import load_taxonomy
from server.errors import NoAuditLogError, UnknownReviewError
from server.record.audit_log import AuditLog
from server.record.entries import DecisionEntry, Label, Review, new_id, now_unix_ms
from server.record.query import ReviewQuery, ReviewStatus

router = APIRouter()

MAX_PAGE = 200
_RESPONSES: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 500, 503)
}
_DECIDE_THE_FIRST = {
    "decide": {
        "operationId": "decide_review",
        "parameters": {"review_id": "$response.body#/data/0/verdict/id"},
        "description": "Decide about one of them.",
    }
}
_Text = Annotated[str, AfterValidator(encodable)]


def _only_the_taxonomys_names(schema: dict[str, Any]) -> None:
    """Say in the schema what the validator below checks."""
    taxonomy = load_taxonomy()
    named = {name: taxonomy.concepts_of(name) for name in taxonomy.category_names}
    unsafe = [
        {"category": {"enum": [name, ""]}, "concept": {"enum": ["", *concepts]}}
        for name, concepts in named.items()
    ]
    safe = {"label": {"const": "Safe"}, "category": {"const": ""}, "concept": {"const": ""}}
    schema["anyOf"] = [
        {"properties": safe},
        *({"properties": {"label": {"const": "Unsafe"}} | names} for names in unsafe),
    ]


class ReviewDecision(BaseModel):
    """What a person found: safe, or unsafe and of what; names are the taxonomy's, or empty."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", json_schema_extra=_only_the_taxonomys_names
    )

    label: Label
    category: _Text = ""
    concept: _Text = ""
    note: Annotated[_Text, Field(max_length=2000)] = ""

    @model_validator(mode="after")
    def _names_are_the_taxonomys(self) -> Self:
        taxonomy = load_taxonomy()
        if self.label == "Safe" and (self.category or self.concept):
            raise ValueError("what is safe has no category or concept")
        if self.category and self.category not in taxonomy.category_names:
            raise ValueError("unknown category")
        if self.concept and self.concept not in taxonomy.concept_names:
            raise ValueError("unknown concept")
        if self.concept and self.category not in ("", taxonomy.category_of(self.concept)):
            raise ValueError("the concept is of another category")
        return self


class ReviewList(BaseModel):
    """A page of reviews, oldest first. With `has_more`, go on with `after` the last one's id."""

    data: list[Review]
    has_more: bool


@router.get(
    "/v1/reviews",
    response_model=ReviewList,
    responses=_RESPONSES | {200: {"links": _DECIDE_THE_FIRST}},
)
async def list_reviews(
    services: ServicesDep,
    status: ReviewStatus = "open",
    tenant: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> ReviewList:
    """The reviews that are open, decided or any, of one tenant or of all."""
    query = ReviewQuery(status=status, tenant=tenant, after=after, limit=limit + 1)
    found = await _audit_log(services).reviews(query)
    return ReviewList(data=found[:limit], has_more=len(found) > limit)


@router.post(
    "/v1/reviews/{review_id}",
    response_model=Review,
    responses=_RESPONSES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ReviewDecision.model_json_schema()}},
        }
    },
)
async def decide_review(review_id: str, request: Request, services: ServicesDep) -> Review:
    """Decide about a review; deciding again replaces what was decided before."""
    audit = _audit_log(services)
    try:
        decision = ReviewDecision.model_validate(parse_json(await request.body()))
    except ValidationError as error:
        raise invalid_field(error, prefix="") from error
    review = await audit.review(review_id)
    if review is None:
        raise UnknownReviewError(review_id)
    holder, now_ms = key_holder(request), now_unix_ms()
    category = decision.category
    if decision.concept and not category:
        category = load_taxonomy().category_of(decision.concept)
    entry = DecisionEntry(
        id=new_id(now_ms),
        time_unix_ms=now_ms,
        verdict_id=review.verdict.id,
        tenant=review.verdict.tenant,
        key_id=holder.id,
        label=decision.label,
        category=category,
        concept=decision.concept,
        note=decision.note,
    )
    await audit.decide(entry)
    return Review(verdict=review.verdict, decision=entry)


def _audit_log(services: Services) -> AuditLog:
    if services.audit is None:
        raise NoAuditLogError
    return services.audit
