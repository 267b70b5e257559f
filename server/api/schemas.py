"""The request and the answer of ``POST /v1/moderations``, as JSON.

Unknown fields are accepted, as clients of the original send them; inside `sightward`, which is
ours, they are refused, since a misspelt option would silently mean something else.
"""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from server.api.errors import ErrorObject
from server.api.json_body import is_unicode
from server.concepts.actions import Action
from server.concepts.own_concepts import ListName
from server.concepts.risk import Risk
from server.concepts.verdict import JudgedBy, Outcome
from server.errors import InvalidFieldError
from server.explaining import NoExplanation
from server.moderator import ScoreSource

_TAG_MARK = "<"
"""Starts the tag of every union member, which sets tags apart from fields in an error's path."""


def encodable(text: str) -> str:
    """`text`, if it can be written as UTF-8; raises `ValueError`."""
    if not is_unicode(text):
        raise ValueError("half of a surrogate pair is no text")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(encodable)]

IMAGE_URL_SCHEMA = {"type": "string", "format": "uri", "minLength": 1}
"""Of a picture's address; what it holds or names is looked at input by input."""


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class ImageUrl(_Request):
    """Where the picture is: a base64 data URL, or one of the web where this server fetches any."""

    url: Annotated[Text, WithJsonSchema(IMAGE_URL_SCHEMA)]


class TextPart(_Request):
    """A text to judge."""

    type: Literal["text"]
    text: Text


class ImagePart(_Request):
    """A picture to judge."""

    type: Literal["image_url"]
    image_url: ImageUrl


def _part_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    return {"text": "<text>", "image_url": "<image>"}.get(kind) if isinstance(kind, str) else None


def _input_tag(value: object) -> str | None:
    if isinstance(value, str):
        return "<string>"
    if isinstance(value, list) and value:
        return "<parts>" if isinstance(value[0], dict) else "<strings>"
    return None


Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImagePart, Tag("<image>")],
    Discriminator(
        _part_tag,
        custom_error_type="unknown_part",
        custom_error_message='Input should be a part of type "text" or "image_url"',
    ),
]
Input = Annotated[
    Annotated[Text, Tag("<string>")]
    | Annotated[tuple[Text, ...], Tag("<strings>"), Field(strict=False, min_length=1)]
    | Annotated[tuple[Part, ...], Tag("<parts>"), Field(strict=False, min_length=1)],
    Discriminator(
        _input_tag,
        custom_error_type="unknown_input",
        custom_error_message="Input should be a string, a list of strings or a list of parts, "
        "and not empty",
    ),
]


InputId = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(encodable)]


class SightwardOptions(BaseModel):
    """What this service gives beyond the original's contract."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    per_input: bool = Field(default=False, description="One result for each input, not one merged.")
    detail: bool = Field(default=False, description="Add `sightward` to every result.")
    explain: bool = Field(
        default=False,
        description="Add `sightward` with an explanation that the model writes, and may be wrong.",
    )
    ids: Annotated[tuple[InputId, ...], Field(strict=False)] | None = Field(
        default=None,
        description="The caller's own names of the inputs, in their order, for the audit log.",
    )


class ModerationRequest(_Request):
    """The JSON body."""

    input: Input
    model: Annotated[str, AfterValidator(encodable)] | None = None
    sightward: SightwardOptions = SightwardOptions()


class ConceptScore(BaseModel):
    """One of the likeliest concepts."""

    concept: str
    category: str
    score: float


class Likeliest(BaseModel):
    """A category's or concept's name, or "none", and its share among the names and "none"."""

    name: str
    probability: float


class Recognised(BaseModel):
    """What the input shows, whether or not that is judged unsafe; `concept` may not be known."""

    category: Likeliest
    concept: Likeliest | None


class RiskDetail(BaseModel):
    """A safety head's answer: the likeliest level (0 clean to 3) and type, and all their shares."""

    level: int
    type: str
    levels: list[float]
    types: dict[str, float]

    @classmethod
    def of(cls, risk: Risk | None) -> "RiskDetail | None":
        """`risk` as JSON; None where the model said none."""
        if risk is None:
            return None
        return cls(
            level=risk.level, type=risk.type, levels=list(risk.levels), types=dict(risk.types)
        )


class RawScores(BaseModel):
    """What the model itself said, before its scores were calibrated."""

    p_unsafe: float | None
    recognised: Recognised | None


class Listed(BaseModel):
    """A list of known pictures that an input is on, and whose it is: `policy`, or a matcher's."""

    list: ListName
    source: str


class TimingsMs(BaseModel):
    """Milliseconds: decoding and the model's answers (the slowest input's), and the whole call."""

    decode: float
    engine: float
    total: float


class ExplanationText(BaseModel):
    """One or two sentences that the model wrote after it had judged; they may be wrong.

    `truncated` where it was cut off after so many tokens as one may have.
    """

    text: str
    tokens: int
    truncated: bool


class ResultDetail(BaseModel):
    """What `detail` adds to a result.

    `judged_by` tells whether the whole model judged or its safety head alone; a merged result may
    name both. `scores_from` tells when: now, together with an identical input, or before; or that
    they are those of a picture that looks alike, at a distance of `look_alike_bits` (PDQ).
    `own_concepts` are the operator's, null where the model gave no answer. What is `listed` was
    decided by that list, whatever the scores; if it is a block-list, no model was asked.
    `fingerprints` are those of the pictures, by which lists and the audit log know them.
    `explanation`, only where it was asked for, is of the input that decided the result, and has no
    part in it; where it is null, `no_explanation` says why.
    """

    outcome: Outcome
    p_unsafe: float | None
    action: Action
    categories: dict[str, float]
    concepts: list[ConceptScore]
    recognised: Recognised | None
    risk: RiskDetail | None
    raw: RawScores
    judged_by: list[JudgedBy]
    scores_from: list[ScoreSource]
    look_alike_bits: int | None
    own_concepts: dict[str, float | None]
    listed: Listed | None
    fingerprints: list[str]
    model_version: str
    policy_version: str
    timings_ms: TimingsMs
    explanation: ExplanationText | None = None
    no_explanation: NoExplanation | None = None


class FailedInput(BaseModel):
    """What stands in the place of `ResultDetail` for an input that was refused."""

    outcome: Literal[Outcome.UNDETERMINED]
    action: Action
    error: ErrorObject
    explanation: None = None
    no_explanation: NoExplanation | None = None


class ModerationResult(BaseModel):
    """One result; the maps have the original's thirteen keys."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text", "image"]]]
    sightward: ResultDetail | FailedInput | None = None


class ModerationResponse(BaseModel):
    """The body of a 200; `sightward` is left out of results when it was not asked for."""

    id: str
    model: str
    results: list[ModerationResult]


_REQUEST = TypeAdapter(ModerationRequest)
_OPTIONS = TypeAdapter(SightwardOptions)


def parse_moderation_request(body: object) -> ModerationRequest:
    """The request in a parsed JSON body; raises `InvalidFieldError` with the field's path."""
    try:
        return _REQUEST.validate_python(body)
    except ValidationError as error:
        raise invalid_field(error, prefix="") from error


def parse_options(value: object) -> SightwardOptions:
    """The options of a form's `sightward` field; raises `InvalidFieldError`."""
    try:
        return _OPTIONS.validate_python(value)
    except ValidationError as error:
        raise invalid_field(error, prefix="sightward") from error


def invalid_field(error: ValidationError, *, prefix: str) -> InvalidFieldError:
    """What is wrong first, as the client is told; `prefix` is the path of what was validated."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = prefix
    for step in first["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith(_TAG_MARK):
            path += f".{step}" if path else step
    # A key that the caller invented is repeated in the path, so its length is bounded.
    where = path[:200] or None
    subject = where or "the body"
    # Pydantic's own words for this one name our classes.
    problem = "Input should be an object" if first["type"] == "model_type" else first["msg"]
    problem = problem.removeprefix("Value error, ")  # our own words
    return InvalidFieldError(f"Invalid value at {subject}: {problem}.", param=where)
