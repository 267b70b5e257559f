"""One row a file: what the service says of it, or why nothing could be said.

A file that was not judged has the outcome ``undetermined`` and an error or, where the model gave no
usable answer, the policy's action for that. It is never allowed without having been judged.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class FileRow:
    """Columns by name; None is "not known". `category` and `concept` are the likeliest."""

    file: str
    outcome: str
    action: str | None = None
    flagged: bool | None = None
    p_unsafe: float | None = None
    category: str | None = None
    concept: str | None = None
    error: str | None = None
    error_detail: str | None = None
    model_version: str | None = None
    policy_version: str | None = None

    @property
    def is_judged(self) -> bool:
        """Whether the file has a verdict."""
        return self.outcome != UNDETERMINED

    def record(self) -> dict[str, Any]:
        """The row as a plain dictionary."""
        return asdict(self)


COLUMNS = tuple(field.name for field in fields(FileRow))


def failed_row(file: str, error: str, detail: str) -> FileRow:
    """The row of a file that was not judged."""
    return FileRow(file, UNDETERMINED, error=error, error_detail=detail or None)


def row_of(file: str, result: Mapping[str, Any]) -> FileRow:
    """The row of a result with its detail, as the endpoint gives it for one picture."""
    detail = result["sightward"]
    if "error" in detail:
        error = detail["error"]
        return FileRow(
            file,
            UNDETERMINED,
            action=detail["action"],
            flagged=result["flagged"],
            error=error["code"],
            error_detail=error["message"],
        )
    scores = detail["categories"]
    return FileRow(
        file,
        detail["outcome"],
        action=detail["action"],
        flagged=result["flagged"],
        p_unsafe=detail["p_unsafe"],
        category=max(scores, key=lambda name: scores[name], default=None),
        concept=detail["concepts"][0]["concept"] if detail["concepts"] else None,
        model_version=detail["model_version"],
        policy_version=detail["policy_version"],
    )
