"""What is known of a batch: what it was made as, which never changes, and how far it is.

Statuses and times are those of OpenAI's Batch API, so that its users know them.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.api.schemas import SightwardOptions

MAX_CUSTOM_ID_CHARS = 500


class Status(StrEnum):
    """Where a batch is; the last four end it."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing will be judged any more."""
        return self in _ENDS


_ENDS = frozenset({Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED})


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class BatchFacts(_Stored):
    """Who made a batch, when, and until when it is worked on.

    `options` are what a form asked for all its pictures; lines of JSON have their own.
    """

    id: str
    tenant: str
    key_id: str
    created_unix_s: int
    expires_unix_s: int
    options: SightwardOptions = SightwardOptions()


class Span(_Stored):
    """A part of the spooled input: lines of JSON, or one picture with its name."""

    kind: Literal["lines", "picture"]
    offset: int
    bytes: int
    custom_id: str = ""


class Problem(_Stored):
    """Why a batch as a whole failed; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchState(_Stored):
    """How far a batch is. `results_bytes` of its results are whole lines that are on the disk."""

    status: Status = Status.VALIDATING
    total: int = 0
    completed: int = 0
    failed: int = 0
    results_bytes: int = 0
    in_progress_unix_s: int | None = None
    cancelling_unix_s: int | None = None
    ended_unix_s: int | None = None
    problems: tuple[Problem, ...] = ()
