"""Batches as JSON: the fields of OpenAI's Batch API, where there is something to put into them."""

from typing import Any, Literal

from pydantic import BaseModel

from server.api.errors import ErrorObject
from server.api.schemas import ModerationResponse
from server.batches.facts import BatchFacts, BatchState, Problem, Status
from server.batches.job import Trouble


class RequestCounts(BaseModel):
    """Lines: all, those with a response, those with an error. At the end the latter two add up."""

    total: int
    completed: int
    failed: int


class BatchErrors(BaseModel):
    """Why a batch failed as a whole."""

    object: Literal["list"] = "list"
    data: list[Problem]


class Batch(BaseModel):
    """A batch; times are Unix seconds, null for what has not happened.

    `waiting_for` is what keeps it from going on at the moment: the model, the disk or the audit
    log; null where nothing does, or another replica works on it.
    """

    id: str
    object: Literal["batch"] = "batch"
    endpoint: Literal["/v1/moderations"] = "/v1/moderations"
    status: Status
    errors: BatchErrors | None
    request_counts: RequestCounts
    created_at: int
    in_progress_at: int | None
    expires_at: int
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    waiting_for: Trouble | None

    @classmethod
    def of(cls, facts: BatchFacts, state: BatchState, waiting_for: Trouble | None) -> "Batch":
        """The batch as it is shown."""

        def ended(status: Status) -> int | None:
            return state.ended_unix_s if state.status is status else None

        return cls(
            id=facts.id,
            status=state.status,
            errors=BatchErrors(data=list(state.problems)) if state.problems else None,
            request_counts=RequestCounts(
                total=state.total, completed=state.completed, failed=state.failed
            ),
            created_at=facts.created_unix_s,
            in_progress_at=state.in_progress_unix_s,
            expires_at=facts.expires_unix_s,
            completed_at=ended(Status.COMPLETED),
            failed_at=ended(Status.FAILED),
            expired_at=ended(Status.EXPIRED),
            cancelling_at=state.cancelling_unix_s,
            cancelled_at=ended(Status.CANCELLED),
            waiting_for=None if state.status.is_end else waiting_for,
        )


class BatchList(BaseModel):
    """A page of batches, newest first. With `has_more`, go on with `after` the `last_id`."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchDeleted(BaseModel):
    """A batch that is no more."""

    id: str
    object: Literal["batch"] = "batch"
    deleted: Literal[True] = True


class BatchResult(BaseModel):
    """One line of the results: either a response, as the interactive endpoint's, or an error.

    `line` is the request's number, from 1, of those that are not blank.
    """

    custom_id: str
    line: int
    response: ModerationResponse | None
    error: ErrorObject | None


def result_schema() -> dict[str, Any]:
    """The schema of one line of the results, whose parts are those of other answers."""
    schema = BatchResult.model_json_schema(ref_template="#/components/schemas/{model}")
    return {name: value for name, value in schema.items() if name != "$defs"}
