"""Which entries are asked for."""

from dataclasses import dataclass
from typing import Literal

from server.concepts.actions import Action
from server.record.entries import ComparisonEntry, Review, RolloutEntry, VerdictEntry

ReviewStatus = Literal["open", "decided", "any"]


SEARCHED = (
    "action",
    "tenant",
    "key_id",
    "fingerprint",
    "caller_id",
    "request_id",
    "model_version",
    "policy_version",
)
"""The fields of an entry that are asked for by their exact value."""


@dataclass(frozen=True, slots=True)
class VerdictQuery:
    """Verdicts that agree with every field that is not None.

    Times are Unix milliseconds, from `since_ms` up to and without `until_ms`.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    action: Action | None = None
    tenant: str | None = None
    key_id: str | None = None
    fingerprint: str | None = None
    caller_id: str | None = None
    request_id: str | None = None
    model_version: str | None = None
    policy_version: str | None = None

    @property
    def exact(self) -> dict[str, str]:
        """The fields that have to be equal, by name."""
        return {name: str(value) for name in SEARCHED if (value := getattr(self, name)) is not None}

    def takes(self, entry: VerdictEntry) -> bool:
        """Whether the entry is asked for."""
        if self.since_ms is not None and entry.time_unix_ms < self.since_ms:
            return False
        if self.until_ms is not None and entry.time_unix_ms >= self.until_ms:
            return False
        return all(str(getattr(entry, name)) == value for name, value in self.exact.items())


@dataclass(frozen=True, slots=True)
class ReviewQuery:
    """Reviews by their state, oldest first, at most `limit` of them that come behind `after`."""

    status: ReviewStatus = "open"
    tenant: str | None = None
    after: str = ""
    limit: int = 50

    def takes(self, review: Review) -> bool:
        """Whether the review is asked for; not whether it is within the limit."""
        if self.tenant is not None and review.verdict.tenant != self.tenant:
            return False
        if review.verdict.id <= self.after:
            return False
        return self.status == "any" or (review.decision is None) == (self.status == "open")


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """Entries about models: comparisons, or changes of roles.

    Times as in `VerdictQuery`. The rest is of comparisons: in `role`, of one tenant, of a content,
    with another action alone.
    """

    kind: Literal["comparison", "rollout"] = "comparison"
    since_ms: int | None = None
    until_ms: int | None = None
    role: Literal["canary", "shadow"] | None = None
    tenant: str | None = None
    fingerprint: str | None = None
    disagree: bool = False

    def takes(self, entry: ComparisonEntry | RolloutEntry) -> bool:
        """Whether the entry is asked for."""
        if entry.kind != self.kind:
            return False
        if self.since_ms is not None and entry.time_unix_ms < self.since_ms:
            return False
        if self.until_ms is not None and entry.time_unix_ms >= self.until_ms:
            return False
        if isinstance(entry, RolloutEntry):
            return True
        wanted = (
            (self.role, entry.role),
            (self.tenant, entry.tenant),
            (self.fingerprint, entry.fingerprint),
        )
        if any(value is not None and value != found for value, found in wanted):
            return False
        return entry.disagrees or not self.disagree
