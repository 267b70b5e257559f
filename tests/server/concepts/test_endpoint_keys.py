import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.concepts.endpoint_keys import (
    CATEGORY_ROUTES,
    CONCEPT_ROUTES,
    NOT_JUDGED,
    UNCLASSIFIED,
    EndpointKey,
    KeyResult,
    categories_of,
    key_results,
    keys_of,
)
from server.concepts.policy import Policy, default_policy
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import UNREAD, Outcome, Verdict
from server.errors import UnknownCategoryError

VERDICTS = st.from_type(Verdict)
TAXONOMY = load_taxonomy()


def results(verdict: Verdict, policy: Policy | None = None) -> dict[str, KeyResult]:
    return {result.key.value: result for result in key_results(verdict, policy or default_policy())}


def unsafe(categories: dict[str, float], concepts: dict[str, float] | None = None) -> Verdict:
    return Verdict(
        Outcome.UNSAFE,
        max(categories.values()),
        1.0,
        categories=categories,
        concepts=concepts or {},
    )


def test_the_thirteen_keys_are_spelled_as_the_endpoint_spells_them() -> None:
    assert {key.value for key in EndpointKey} == {
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/intent",
        "self-harm/instructions",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    }


def test_every_category_speaks_for_a_key_itself() -> None:
    assert {route.category for route in CATEGORY_ROUTES} == set(TAXONOMY.category_names)


def test_concept_routes_name_concepts_of_the_taxonomy() -> None:
    assert {route.concept for route in CONCEPT_ROUTES} <= set(TAXONOMY.concept_names)


def test_every_key_is_judged_or_said_not_to_be() -> None:
    judged = {route.key for route in (*CATEGORY_ROUTES, *CONCEPT_ROUTES)}
    not_judged = {entry.key for entry in NOT_JUDGED}

    assert judged | not_judged == set(EndpointKey)
    assert judged & not_judged == set()


def test_every_line_of_the_map_gives_a_reason() -> None:
    for entry in (*CATEGORY_ROUTES, *CONCEPT_ROUTES, *NOT_JUDGED, UNCLASSIFIED):
        assert len(entry.reason.split()) >= 5


def test_the_map_reads_both_ways() -> None:
    assert keys_of("Hate") == (EndpointKey.HATE, EndpointKey.HATE_THREATENING)
    assert categories_of(EndpointKey.VIOLENCE) == ("Violence", "Shocking")
    assert categories_of(EndpointKey.SEXUAL_MINORS) == ()
    for category in TAXONOMY.category_names:
        for key in keys_of(category):
            assert category in categories_of(key)
    with pytest.raises(UnknownCategoryError):
        keys_of("Kittens")


def test_a_category_gives_its_key_score_and_flag() -> None:
    found = results(unsafe({"Sexual": 0.9, "Hate": 0.2}))

    assert found["sexual"] == KeyResult(EndpointKey.SEXUAL, flagged=True, score=0.9)
    assert found["hate"] == KeyResult(EndpointKey.HATE, flagged=False, score=0.2)


def test_the_highest_of_several_categories_gives_the_key_its_score() -> None:
    found = results(unsafe({"Illegal activity": 0.6, "Deception": 0.7}))

    # Deception is higher but below its own threshold; the flag is illegal activity's.
    assert found["illicit"] == KeyResult(EndpointKey.ILLICIT, flagged=True, score=0.7)


def test_a_concept_speaks_no_louder_than_its_category() -> None:
    found = results(unsafe({"Harassment": 0.4, "Sexual": 0.9}, {"threatening messages": 0.9}))

    assert found["harassment/threatening"].score == 0.4
    assert not found["harassment/threatening"].flagged


def test_a_concept_reaches_the_key_its_category_does_not() -> None:
    found = results(unsafe({"Hate": 0.9}, {"KKK Hood and Cross": 0.8}))

    assert found["hate/threatening"] == KeyResult(
        EndpointKey.HATE_THREATENING, flagged=True, score=0.8
    )


def test_a_concept_that_was_not_asked_about_leaves_its_key_without_a_score() -> None:
    assert results(unsafe({"Hate": 0.9}))["hate/threatening"].score is None


def test_an_unclassified_judgement_is_flagged_under_the_broadest_key() -> None:
    found = results(Verdict(Outcome.UNSAFE, 0.9, 1.0))

    assert found["illicit"] == KeyResult(EndpointKey.ILLICIT, flagged=True, score=0.9)
    assert [result.key for result in found.values() if result.flagged] == [EndpointKey.ILLICIT]


def test_an_undetermined_input_has_no_scores_and_a_true_key_only_if_blocked() -> None:
    strict = default_policy().model_copy(update={"undetermined": "block"})

    assert all(result.score is None for result in results(UNREAD).values())
    assert not any(result.flagged for result in results(UNREAD).values())
    assert results(UNREAD, strict)["illicit"] == KeyResult(
        EndpointKey.ILLICIT, flagged=True, score=None
    )


@given(VERDICTS, st.sampled_from(["review", "block"]))
def test_flagged_and_the_keys_always_agree(verdict: Verdict, undetermined: str) -> None:
    policy = default_policy().model_copy(update={"undetermined": undetermined})
    found = key_results(verdict, policy)

    assert [result.key for result in found] == list(EndpointKey)
    assert any(result.flagged for result in found) == policy.decide(verdict).flagged


@given(VERDICTS)
def test_keys_that_are_not_judged_never_get_a_score(verdict: Verdict) -> None:
    found = results(verdict)

    for entry in NOT_JUDGED:
        assert found[entry.key.value] == KeyResult(entry.key, flagged=False, score=None)
