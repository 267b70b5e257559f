"""One request of a replay with what it was about: what figures are computed from and records hold.

Times are seconds from when the first request was due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.endpoint import Judged
from benchmarks.load.bodies import Turn
from benchmarks.load.peer import Contract
from benchmarks.load.sending import End, Sent
from benchmarks.replay.said import Verdict, read_said
from benchmarks.served_figures import groups_of

UNREADABLE = "unreadable"
"""The code of an answer with status 200 that is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request, its labels and its answer; `verdict` is None unless it was answered.

    `category` and `concept` are the labels, `seen_category` and `seen_concept` what was recognised.
    """

    id: str
    pass_number: int
    group: str
    unsafe: bool
    category: str
    concept: str
    due_s: float
    sent_s: float
    latency_ms: float
    service_ms: float
    end: End
    status: int | None = None
    code: str | None = None
    verdict: Verdict | None = None
    p_unsafe: float | None = None
    seen_category: str | None = None
    seen_concept: str | None = None
    from_cache: bool = False
    model: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended_s(self) -> float:
        """When it was over."""
        return self.due_s + self.latency_ms / 1000

    def judged(self) -> Judged:
        """As the other benchmarks have it."""
        return Judged(
            outcome=self.verdict or "undetermined",
            p_unsafe=self.p_unsafe,
            category=self.seen_category,
            concept=self.seen_concept,
            latency_ms=self.latency_ms,
            failure=None if self.end == "ok" else self.code or self.end,
        )


def rows_of(turns: Sequence[Turn], sent: Sequence[Sent], contract: Contract) -> list[Row]:
    """A row a request, in the order they were due."""
    began_s = min(one.due_s for one in sent)
    groups = groups_of([turn.example for turn in turns])
    rows = [
        _row(turn, one, group, began_s, contract)
        for turn, one, group in zip(turns, sent, groups, strict=True)
    ]
    return sorted(rows, key=lambda row: row.due_s)


def _row(turn: Turn, sent: Sent, group: str, began_s: float, contract: Contract) -> Row:
    said = read_said(sent.body, contract) if sent.end == "ok" else None
    is_unreadable = sent.end == "ok" and said is None
    example = turn.example
    return Row(
        id=example.id,
        pass_number=turn.pass_number,
        group=group,
        unsafe=example.unsafe,
        category=example.category,
        concept=example.concept,
        due_s=sent.due_s - began_s,
        sent_s=sent.sent_s - began_s,
        latency_ms=sent.latency_ms,
        service_ms=sent.service_ms,
        end="error" if is_unreadable else sent.end,
        status=sent.status,
        code=UNREADABLE if is_unreadable else sent.code,
        verdict=said.verdict if said else None,
        p_unsafe=said.p_unsafe if said else None,
        seen_category=said.category if said else None,
        seen_concept=said.concept if said else None,
        from_cache=said.from_cache if said else False,
        model=said.model if said else "",
        scores=said.scores if said else {},
    )
