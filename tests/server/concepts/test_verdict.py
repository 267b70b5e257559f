import math
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.concepts.recognition import Recognition
from server.concepts.risk import CLEAN, Risk
from server.concepts.verdict import (
    UNREAD,
    Outcome,
    Reading,
    Verdict,
    merge,
    scores,
    verdict_of,
)

VERDICTS = st.from_type(Verdict)
PROBABILITIES = st.floats(0.0, 1.0)
SAFE = Verdict(Outcome.SAFE, 0.1, 0.9)
UNSAFE = Verdict(Outcome.UNSAFE, 0.8, 0.9)


def test_one_reading_is_judged_by_the_unsafe_share() -> None:
    verdict = verdict_of([Reading(0.6, 0.2)], None, min_answer_mass=0.05)

    assert verdict.outcome is Outcome.UNSAFE
    assert verdict.p_unsafe == pytest.approx(0.75)
    assert verdict.answer_mass == pytest.approx(0.8)


def test_an_even_answer_is_unsafe() -> None:
    assert verdict_of([Reading(0.4, 0.4)], None, min_answer_mass=0.05).outcome is Outcome.UNSAFE


def test_several_readings_are_averaged_and_those_without_mass_have_no_say() -> None:
    readings = [Reading(0.9, 0.1), Reading(0.1, 0.3), Reading(0.02, 0.02)]

    verdict = verdict_of(readings, None, min_answer_mass=0.05)

    assert verdict.p_unsafe == pytest.approx((0.9 + 0.25) / 2)
    assert verdict.answer_mass == pytest.approx((1.0 + 0.4 + 0.04) / 3)


@pytest.mark.parametrize(
    "reading",
    [
        Reading(0.0, 0.04),
        Reading(0.0, 0.0),
        Reading(math.nan, 0.9),
        Reading(0.1, math.inf),
        Reading(-0.1, 0.9),
    ],
)
def test_what_is_no_answer_is_undetermined_never_safe(reading: Reading) -> None:
    verdict = verdict_of([reading], None, min_answer_mass=0.05)

    assert verdict.outcome is Outcome.UNDETERMINED
    assert verdict.p_unsafe is None
    assert verdict.categories == {}


def test_an_undetermined_verdict_keeps_what_was_recognised() -> None:
    seen = Recognition({"Hate": 0.9}, 0.1)

    assert verdict_of([Reading(0.0, 0.0)], seen, min_answer_mass=0.05).recognition is seen


def test_a_broken_recognition_costs_the_categories_not_the_judgement() -> None:
    seen = Recognition({"Hate": math.nan, "Sexual": 0.3}, 0.1)

    verdict = verdict_of([Reading(0.7, 0.3)], seen, min_answer_mass=0.05)

    assert verdict.outcome is Outcome.UNSAFE
    assert verdict.categories == {}
    assert verdict.unclassified == pytest.approx(0.7)


def test_scores_keep_their_proportion_and_the_likeliest_carries_all() -> None:
    # "None" would have 0.5 here: it takes nothing from the others.
    assert scores(0.8, {"Hate": 0.4, "Sexual": 0.1, "Violence": 0.0}) == pytest.approx(
        {"Hate": 0.8, "Sexual": 0.2, "Violence": 0.0}
    )


@given(p_unsafe=PROBABILITIES, probabilities=st.dictionaries(st.text(), PROBABILITIES, min_size=1))
def test_scores_never_exceed_the_judgement_and_the_highest_is_it(
    p_unsafe: float, probabilities: dict[str, float]
) -> None:
    result = scores(p_unsafe, probabilities)

    assert result.keys() == probabilities.keys()
    assert all(0.0 <= score <= p_unsafe for score in result.values())
    assert max(result.values()) == p_unsafe


@given(
    p_unsafe=PROBABILITIES,
    probabilities=st.dictionaries(st.text(), PROBABILITIES, min_size=2),
)
def test_scores_keep_the_order_of_the_probabilities(
    p_unsafe: float, probabilities: dict[str, float]
) -> None:
    assume(max(probabilities.values()) > 0.0)
    result = scores(p_unsafe, probabilities)

    by_probability = sorted(probabilities, key=lambda name: probabilities[name])
    ordered = [result[name] for name in by_probability]
    assert ordered == sorted(ordered)


@given(
    low=PROBABILITIES, high=PROBABILITIES, probabilities=st.dictionaries(st.text(), PROBABILITIES)
)
def test_scores_rise_with_the_judgement(
    low: float, high: float, probabilities: dict[str, float]
) -> None:
    low, high = sorted((low, high))
    below, above = scores(low, probabilities), scores(high, probabilities)

    assert all(below[name] <= above[name] for name in probabilities)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_readings_share_is_a_probability_or_absent(unsafe: float, safe: float) -> None:
    share = Reading(unsafe, safe).p_unsafe

    assert (share is None) == (unsafe + safe == 0.0)
    if share is not None:
        assert 0.0 <= share <= 1.0
        assert (share >= 0.5) == (unsafe >= safe)


@given(VERDICTS)
def test_a_judgement_is_always_carried_by_some_score(verdict: Verdict) -> None:
    if verdict.p_unsafe is not None:
        carried = (*verdict.categories.values(), verdict.unclassified or 0.0)
        assert max(carried) >= verdict.p_unsafe


@given(st.lists(VERDICTS, min_size=1, max_size=3))
def test_merge_ignores_order(verdicts: list[Verdict]) -> None:
    merged = {repr(_content(merge(order))) for order in permutations(verdicts)}

    assert len(merged) == 1


@given(st.lists(VERDICTS, min_size=1, max_size=3))
def test_merge_ignores_repetition(verdicts: list[Verdict]) -> None:
    merged = merge(verdicts)

    assert merge([*verdicts, *verdicts]) == merged
    assert merge([merged]) == merged
    assert merge([merged, *verdicts]) == merged


@given(VERDICTS, VERDICTS, VERDICTS)
def test_merge_in_steps_is_merge_at_once(a: Verdict, b: Verdict, c: Verdict) -> None:
    assert merge([merge([a, b]), c]) == merge([a, b, c])


@given(st.lists(VERDICTS, min_size=1, max_size=4))
def test_no_score_is_lost_in_a_merge(verdicts: list[Verdict]) -> None:
    merged = merge(verdicts)

    for part in verdicts:
        assert merged.outcome.severity >= part.outcome.severity
        assert merged.answer_mass <= part.answer_mass
        assert part.p_unsafe is None or (merged.p_unsafe or 0.0) >= part.p_unsafe
        assert part.unclassified is None or (merged.unclassified or 0.0) >= part.unclassified
        for name, score in part.categories.items():
            assert merged.categories[name] >= score
        for name, score in part.concepts.items():
            assert merged.concepts[name] >= score


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ((SAFE, SAFE), Outcome.SAFE),
        ((SAFE, UNREAD), Outcome.UNDETERMINED),
        ((SAFE, UNSAFE), Outcome.UNSAFE),
        ((UNREAD, UNSAFE, SAFE), Outcome.UNSAFE),
    ],
)
def test_unsafe_beats_undetermined_beats_safe(parts: tuple[Verdict, ...], outcome: Outcome) -> None:
    assert merge(parts).outcome is outcome
    assert merge(parts).has_undetermined_part == (UNREAD in parts)


def test_a_part_that_no_head_spoke_about_is_seen_through_every_merge() -> None:
    risk = Risk((1.0, 0.0, 0.0, 0.0), {"Hate": 0.0, CLEAN: 1.0})
    by_head = Verdict(Outcome.UNDETERMINED, None, 0.0, risk=risk)

    assert not merge([by_head, SAFE]).has_unjudged_part
    assert merge([by_head, UNREAD]).has_unjudged_part
    assert merge([merge([SAFE, UNREAD]), by_head]).has_unjudged_part


def test_a_merge_keeps_every_different_risk_once() -> None:
    hate = Risk((0.0, 0.0, 0.0, 1.0), {"Hate": 1.0, "Violence": 0.0, CLEAN: 0.0})
    violence = Risk((0.0, 0.0, 1.0, 0.0), {"Hate": 0.0, "Violence": 1.0, CLEAN: 0.0})
    one, other = (Verdict(Outcome.SAFE, 0.1, 1.0, risk=risk) for risk in (hate, violence))
    merged = merge([one, other, merge([one, other])])

    assert merged == merge([other, one])
    assert len(merged.risk_parts) == 2
    assert merged.risk == hate


def test_of_two_equal_judgements_the_same_recognition_speaks_in_either_order() -> None:
    readings = [Reading(0.8, 0.2)]
    hate = verdict_of(readings, Recognition({"Hate": 0.9}, 0.1), min_answer_mass=0.05)
    gore = verdict_of(readings, Recognition({"Shocking": 0.7}, 0.3), min_answer_mass=0.05)
    nothing_seen = verdict_of(readings, None, min_answer_mass=0.05)

    assert merge([hate, gore]).recognition == merge([gore, hate]).recognition
    assert merge([nothing_seen, hate]).recognition == hate.recognition
    assert merge([hate, nothing_seen]).recognition == hate.recognition


def test_nothing_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="nothing to merge"):
        merge([])
    with pytest.raises(ValueError, match="at least one reading"):
        verdict_of([], None, min_answer_mass=0.05)


@pytest.mark.parametrize(
    ("outcome", "p_unsafe", "answer_mass"),
    [
        (Outcome.SAFE, 0.5, 1.0),
        (Outcome.UNSAFE, 0.49, 1.0),
        (Outcome.UNDETERMINED, 0.5, 1.0),
        (Outcome.SAFE, None, 1.0),
        (Outcome.UNSAFE, None, 1.0),
        (Outcome.SAFE, math.nan, 1.0),
        (Outcome.SAFE, -0.1, 1.0),
        (Outcome.UNSAFE, 0.9, 1.1),
        (Outcome.UNSAFE, 0.9, math.nan),
    ],
)
def test_a_contradictory_verdict_can_not_exist(
    outcome: Outcome, p_unsafe: float | None, answer_mass: float
) -> None:
    with pytest.raises(ValueError, match=r"contradicts|must be in|without p_unsafe"):
        Verdict(outcome, p_unsafe, answer_mass)


def _content(verdict: Verdict) -> tuple[object, ...]:
    """Equal verdicts as equal text: the order of names in a map means nothing."""
    return (
        verdict.outcome,
        verdict.p_unsafe,
        verdict.answer_mass,
        sorted(verdict.categories.items()),
        sorted(verdict.concepts.items()),
        verdict.unclassified,
        verdict.recognition is None,
        None if verdict.recognition is None else sorted(verdict.recognition.categories.items()),
    )


def test_an_unusable_risk_is_left_out_of_a_verdict() -> None:
    broken = Risk((math.nan, 0.0, 0.0, 0.0), {"Hate": 0.5, CLEAN: 0.5})
    sound = Risk((1.0, 0.0, 0.0, 0.0), {"Hate": 0.5, CLEAN: 0.5})

    assert verdict_of([Reading(0.1, 0.9)], None, min_answer_mass=0.05, risk=broken).risk is None
    assert verdict_of([Reading(0.1, 0.9)], None, min_answer_mass=0.05, risk=sound).risk == sound
    with pytest.raises(ValueError, match="usable"):
        Verdict(Outcome.SAFE, 0.1, 0.9, risk=broken)


def test_a_risk_survives_a_judgement_that_failed() -> None:
    sound = Risk((0.0, 0.0, 0.0, 1.0), {"Hate": 1.0, CLEAN: 0.0})

    verdict = verdict_of([Reading(0.0, 0.0)], None, min_answer_mass=0.05, risk=sound)

    assert verdict.outcome is Outcome.UNDETERMINED
    assert verdict.risk == sound


def test_the_riskiest_part_names_the_type_however_many_steps_a_merge_takes() -> None:
    """Two merged risks are together riskier than either, and must not pass for one part's."""
    named = [
        Risk(levels, {"Hate": 0.0, "Violence": 0.0, "Shocking": 0.0, CLEAN: 0.0} | {name: 1.0})
        for name, levels in (
            ("Hate", (0.0, 1.0, 0.0, 0.0)),
            ("Violence", (0.5, 0.0, 0.0, 0.5)),
            ("Shocking", (0.0, 0.2, 0.8, 0.0)),
        )
    ]
    a, b, c = (replace(SAFE, risk=risk) for risk in named)
    in_steps = merge([merge([a, b]), c]).risk

    assert in_steps == merge([a, b, c]).risk
    assert in_steps is not None
    assert in_steps.type == "Shocking"


def test_merged_verdicts_keep_the_worst_risk_that_is_known() -> None:
    sound = Risk((0.0, 0.0, 0.0, 1.0), {"Hate": 1.0, CLEAN: 0.0})

    assert merge([SAFE, replace(SAFE, risk=sound)]).risk == sound
    assert merge([SAFE, UNSAFE]).risk is None
