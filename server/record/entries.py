"""What is on record: a verdict a judged input, a decision a review, what models are compared by.

An entry explains an action long after: scores, versions, thresholds by the policy's version, who
asked. It never holds the picture, a text, a web address or a key: a picture is named by its
fingerprint and by the name that the caller gave it.
"""

import secrets
import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from server.concepts.actions import Action
from server.concepts.verdict import Outcome

Label = Literal["Safe", "Unsafe"]
Route = Literal["moderations", "chat", "batches"]

_RANDOM_BYTES = 6


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class VerdictEntry(_Entry):
    """One input's verdict and what was done about it.

    `id` sorts by time. `answer_id` is shared by the inputs of one call, `answer_action` is what
    they got together. `caller_id` is the name that the caller gave the input. `error` is the code
    of the refusal of an input that was not judged, `listed` the list that it is on. `p_unsafe` is
    null where nothing could be read; `raw_p_unsafe` is before calibration. `is_kept` says whether
    a copy of the picture was kept to be reviewed.
    """

    kind: Literal["verdict"] = "verdict"
    id: str
    time_unix_ms: int
    request_id: str
    answer_id: str
    route: Route
    tenant: str
    key_id: str
    input: str
    caller_id: str | None
    modality: Literal["text", "image"] | None
    fingerprint: str | None
    outcome: Outcome
    action: Action
    answer_action: Action
    p_unsafe: float | None
    raw_p_unsafe: float | None
    categories: dict[str, float]
    concepts: dict[str, float]
    own_concepts: dict[str, float | None]
    risk_level: int | None
    risk_type: str | None
    listed: str | None
    error: str | None
    judged_by: tuple[str, ...]
    source: str | None
    model_version: str
    policy_version: str
    engine_ms: float | None
    is_kept: bool = False

    @property
    def needs_review(self) -> bool:
        """Whether people are asked: the answer left it open, and for this input too."""
        return self.action is Action.REVIEW and self.answer_action is Action.REVIEW


class DecisionEntry(_Entry):
    """What a person decided about a verdict, `verdict_id`; the newest of several counts."""

    kind: Literal["decision"] = "decision"
    id: str
    time_unix_ms: int
    verdict_id: str
    tenant: str
    key_id: str
    label: Label
    category: str
    concept: str
    note: str


class Said(_Entry):
    """What one model said of an input, and what that would have come to."""

    model_version: str
    outcome: Outcome
    action: Action
    p_unsafe: float | None


class ComparisonEntry(_Entry):
    """One input as two models judged it: the default, and the one in `role`.

    `answered_by` is whose verdict was given out, `verdict_id` its entry. Actions are the caller's
    policy's on that input alone. `p_unsafe` is null where nothing could be read.
    """

    kind: Literal["comparison"] = "comparison"
    id: str
    time_unix_ms: int
    verdict_id: str | None
    request_id: str
    route: Route
    tenant: str
    key_id: str
    input: str
    caller_id: str | None
    modality: Literal["text", "image"]
    fingerprint: str | None
    role: Literal["canary", "shadow"]
    answered_by: Literal["default", "canary"]
    default: Said
    other: Said
    policy_version: str

    @property
    def disagrees(self) -> bool:
        """Whether something else would have been done."""
        return self.default.action is not self.other.action

    @property
    def difference(self) -> float | None:
        """How far apart the probabilities are; None unless both are known."""
        if self.default.p_unsafe is None or self.other.p_unsafe is None:
            return None
        return abs(self.default.p_unsafe - self.other.p_unsafe)


RolloutChange = Literal["load", "role", "promote", "roll_back", "unload", "failure"]


class RolloutEntry(_Entry):
    """A change to which model is what: the model concerned, and everyone's role after it.

    `key_id` is the key of whoever asked for it, "settings" for what those declare, or "server"
    where the default failed and the one before took its place.
    """

    kind: Literal["rollout"] = "rollout"
    id: str
    time_unix_ms: int
    change: RolloutChange
    name: str
    model: str
    model_version: str | None
    default: str
    previous: str | None
    canary: str | None
    canary_percent: float | None
    shadow: str | None
    shadow_percent: float | None
    key_id: str


Entry = VerdictEntry | DecisionEntry | ComparisonEntry | RolloutEntry
ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


class Review(_Entry):
    """A verdict that people were asked about, and what they decided, if they have."""

    verdict: VerdictEntry
    decision: DecisionEntry | None


def new_id(time_unix_ms: int) -> str:
    """An id that nobody else makes, and that sorts by time to the millisecond."""
    return f"{time_unix_ms:012x}{secrets.token_hex(_RANDOM_BYTES)}"


def now_unix_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000
