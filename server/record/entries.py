"""What is on record: a verdict a judged input, and a decision a review.

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
Route = Literal["moderations", "chat"]

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


Entry = VerdictEntry | DecisionEntry
ENTRY: TypeAdapter[Entry] = TypeAdapter(
    Annotated[VerdictEntry | DecisionEntry, Field(discriminator="kind")]
)


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
