"""What every place of the audit log does alike."""

from collections.abc import Callable

import pytest

from server.concepts.actions import Action
from server.record.entries import DecisionEntry, VerdictEntry
from server.record.query import ReviewQuery, VerdictQuery
from server.record.store import ReviewStore

Verdicts = Callable[..., VerdictEntry]
Decisions = Callable[..., DecisionEntry]


def test_what_was_written_is_read_back_whole_and_in_order(
    store: ReviewStore, verdict: Verdicts, decision: Decisions
) -> None:
    entries = [verdict(1), verdict(2, p_unsafe=None, caller_id="ü.png")]
    store.append([entries[0], decision(entries[0].id)])
    store.append([entries[1]])

    assert list(store.verdicts(VerdictQuery())) == entries


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (VerdictQuery(since_ms=1_002), [2, 3]),
        (VerdictQuery(until_ms=1_002), [1]),
        (VerdictQuery(action=Action.BLOCK), [2]),
        (VerdictQuery(tenant="shop", key_id="k"), [3]),
        (VerdictQuery(tenant="shop", key_id="other"), []),
        (VerdictQuery(caller_id="a.png"), [1]),
        (VerdictQuery(fingerprint="cd" * 32), [2]),
        (VerdictQuery(policy_version="9"), [3]),
    ],
)
def test_verdicts_are_found_by_any_field(
    store: ReviewStore, verdict: Verdicts, query: VerdictQuery, numbers: list[int]
) -> None:
    store.append(
        [
            verdict(1, caller_id="a.png"),
            verdict(2, action="block", fingerprint="cd" * 32),
            verdict(3, tenant="shop", key_id="k", policy_version="9"),
        ]
    )

    assert [found.time_unix_ms - 1_000 for found in store.verdicts(query)] == numbers


def test_a_review_is_open_until_it_is_decided_and_the_newest_decision_counts(
    store: ReviewStore, verdict: Verdicts, decision: Decisions
) -> None:
    first, second = verdict(1), verdict(2)
    store.append([first, second, verdict(3, action="block"), verdict(4, answer_action="block")])
    store.append([decision(first.id, 1), decision(first.id, 2, label="Safe", category="")])

    assert [one.verdict for one in store.reviews(ReviewQuery())] == [second]
    (decided,) = store.reviews(ReviewQuery(status="decided"))
    assert decided.verdict == first
    assert decided.decision is not None
    assert decided.decision.label == "Safe"
    assert [one.verdict for one in store.reviews(ReviewQuery(status="any"))] == [first, second]


def test_reviews_come_in_pages_and_by_tenant(store: ReviewStore, verdict: Verdicts) -> None:
    entries = [verdict(n, tenant="a" if n % 2 else "b") for n in range(6)]
    store.append(entries)

    page = store.reviews(ReviewQuery(limit=4))
    rest = store.reviews(ReviewQuery(after=page[-1].verdict.id))
    assert [one.verdict for one in (*page, *rest)] == entries
    assert {one.verdict.tenant for one in store.reviews(ReviewQuery(tenant="a"))} == {"a"}


def test_one_review_is_found_by_its_id(store: ReviewStore, verdict: Verdicts) -> None:
    entry, allowed = verdict(1), verdict(2, action="allow", answer_action="allow")
    store.append([entry, allowed])

    found = store.review(entry.id)
    assert found is not None
    assert found.verdict == entry
    assert store.review(allowed.id) is None
    assert store.review("nothing") is None
