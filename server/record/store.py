"""The seam between the audit log and where it lies: files of JSON lines, or a database.

Methods may block and are called in threads, `append` from one at a time. All raise `AuditLogError`
when the place can't be reached, is full, or holds what can't be read.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from server.record.entries import ComparisonEntry, Entry, Review, RolloutEntry, VerdictEntry
from server.record.query import ModelQuery, ReviewQuery, VerdictQuery


class RecordStore(Protocol):
    """Keeps entries; never changes one."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Write all of them or, raising, none."""
        ...

    def verdicts(self, query: VerdictQuery) -> Iterator[VerdictEntry]:
        """The verdicts that are asked for, oldest first."""
        ...

    def prune(self, before_unix_ms: int) -> int:
        """Forget what is older, as far as the place can; how many files or entries that were."""
        ...

    def close(self) -> None:
        """Release the place; may be called twice."""
        ...


class ReviewStore(RecordStore, Protocol):
    """A store that also knows what is to be reviewed."""

    def reviews(self, query: ReviewQuery) -> list[Review]:
        """The reviews that are asked for, oldest first."""
        ...

    def review(self, verdict_id: str) -> Review | None:
        """The review of one verdict; None if it never was to be reviewed."""
        ...


class ModelStore(RecordStore, Protocol):
    """A store that also knows what models said beside each other, and who was what."""

    def about_models(self, query: ModelQuery) -> Iterator[ComparisonEntry | RolloutEntry]:
        """The entries that are asked for, oldest first."""
        ...


class AuditStore(ReviewStore, ModelStore, Protocol):
    """Everything that the audit log's places do."""
