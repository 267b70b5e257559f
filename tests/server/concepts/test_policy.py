import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.concepts.hint_rules import HintChoice, HintRules, TypeHints, strictest
from server.concepts.hints import Hint
from server.concepts.policy import (
    POLICY_FILE,
    Action,
    Policy,
    Rule,
    default_policy,
)
from server.concepts.policy_book import load_policy
from server.concepts.risk import CLEAN, Risk
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import UNREAD, Outcome, Verdict, merge
from server.errors import DataFileError

VERDICTS = st.from_type(Verdict)
CATEGORIES = load_taxonomy().category_names


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    review_at, block_at = sorted(draw(st.tuples(*[st.floats(0.01, 1.0)] * 2)))
    return Rule(block_at=block_at, review_at=review_at)


POLICIES = st.builds(
    Policy,
    revision=st.just("1"),
    rules=st.fixed_dictionaries({name: rules() for name in CATEGORIES}),
    undetermined=st.sampled_from(["review", "block"]),
)


def _switched(on: list[bool]) -> HintRules:
    pairs = zip(CATEGORIES, on, strict=True)
    return HintRules(types={name: TypeHints(enabled=is_on) for name, is_on in pairs})


# Drawn apart: the rules of actions have nothing to do with types that are switched off for hints.
HINTING_POLICIES = st.builds(
    lambda policy, hints: policy.model_copy(update={"hints": hints}),
    POLICIES,
    st.lists(st.booleans(), min_size=len(CATEGORIES), max_size=len(CATEGORIES)).map(_switched)
    | st.just(HintRules(enabled=False)),
)


def verdict(p_unsafe: float, categories: dict[str, float] | None = None) -> Verdict:
    outcome = Outcome.UNSAFE if p_unsafe >= 0.5 else Outcome.SAFE
    return Verdict(outcome, p_unsafe, 1.0, categories=categories or {})


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (0.0, Action.ALLOW),
        (0.29, Action.ALLOW),
        (0.3, Action.REVIEW),
        (0.49, Action.REVIEW),
        (0.5, Action.BLOCK),
        (1.0, Action.BLOCK),
    ],
)
def test_a_threshold_blocks_and_the_band_below_it_is_reviewed(score: float, action: Action) -> None:
    decision = default_policy().decide(verdict(score, {"Hate": score}))

    assert decision.action is action
    assert decision.flagged == (action is Action.BLOCK)
    assert decision.flagged_categories == (("Hate",) if decision.flagged else ())


def test_each_category_has_its_own_threshold() -> None:
    decision = default_policy().decide(verdict(0.7, {"Sexual": 0.55, "Deception": 0.7}))

    assert decision.flagged_categories == ("Sexual",)
    assert default_policy().decide(verdict(0.7, {"Deception": 0.7})).action is Action.REVIEW


def test_flagged_categories_come_highest_first() -> None:
    decision = default_policy().decide(verdict(0.9, {"Hate": 0.6, "Violence": 0.9, "Sexual": 0.7}))

    assert decision.flagged_categories == ("Violence", "Sexual", "Hate")


def test_without_categories_the_strictest_threshold_counts() -> None:
    decision = default_policy().decide(verdict(0.6))

    assert decision.action is Action.BLOCK
    assert decision.flagged_categories == ()
    assert decision.flagged_unclassified


def test_a_judgement_no_category_carries_survives_a_merge() -> None:
    # Alone, the first picture is blocked; a second one with categories of its own must not hide it.
    lenient = verdict(0.7, {"Deception": 0.7})
    merged = merge([verdict(0.6), lenient])

    assert default_policy().decide(lenient).action is Action.REVIEW
    assert default_policy().decide(merged).action is Action.BLOCK


def test_a_category_the_policy_does_not_name_gets_the_strictest_rule() -> None:
    assert default_policy().decide(verdict(0.5, {"Novel": 0.5})).action is Action.BLOCK


def test_an_undetermined_input_is_reviewed_or_blocked_as_configured() -> None:
    strict = default_policy().model_copy(update={"undetermined": "block"})

    assert default_policy().decide(UNREAD).action is Action.REVIEW
    decision = strict.decide(UNREAD)
    assert decision.action is Action.BLOCK
    assert decision.flagged
    assert decision.flagged_unclassified


@given(POLICIES, VERDICTS)
def test_undetermined_is_never_allowed(policy: Policy, any_verdict: Verdict) -> None:
    for undetermined in (UNREAD, merge([UNREAD, any_verdict])):
        assert policy.decide(undetermined).action is not Action.ALLOW


@given(POLICIES, VERDICTS, st.sampled_from(CATEGORIES), st.floats(0.0, 1.0))
def test_raising_a_score_never_lowers_the_action(
    policy: Policy, before: Verdict, category: str, score: float
) -> None:
    if before.p_unsafe is None:
        return
    raised = max(score, before.categories.get(category, 0.0))
    p_unsafe = max(before.p_unsafe, raised)
    after = Verdict(
        Outcome.UNSAFE if p_unsafe >= 0.5 else Outcome.SAFE,
        p_unsafe,
        before.answer_mass,
        categories={**before.categories, category: raised},
        unclassified=before.unclassified,
    )

    lower, higher = policy.decide(before), policy.decide(after)
    assert higher.action.severity >= lower.action.severity
    assert set(lower.flagged_categories) <= set(higher.flagged_categories)


@given(POLICIES, st.lists(VERDICTS, min_size=1, max_size=3))
def test_a_merge_is_acted_on_exactly_as_strictly_as_its_worst_part(
    policy: Policy, verdicts: list[Verdict]
) -> None:
    merged = policy.decide(merge(verdicts))

    assert merged.action.severity == max(policy.decide(v).action.severity for v in verdicts)


@given(POLICIES, VERDICTS)
def test_flagged_means_blocked_and_says_for_what(policy: Policy, any_verdict: Verdict) -> None:
    decision = policy.decide(any_verdict)

    assert decision.flagged == (decision.action is Action.BLOCK)
    assert decision.flagged == (bool(decision.flagged_categories) or decision.flagged_unclassified)


def test_the_shipped_policy_is_read_once_frozen_and_versioned() -> None:
    policy = default_policy()

    assert default_policy() is policy
    assert load_policy() is policy
    assert policy.version.startswith(f"{policy.revision}-")
    with pytest.raises(TypeError):
        policy.rules["Hate"] = Rule(block_at=1.0, review_at=1.0)  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rules": {"Hate": {"block_at": 0.5, "review_at": 0.3}}}, "rules"),
        ({"undetermined": "allow"}, "undetermined"),
        ({"chat": {"undetermined": "answer"}}, "chat.undetermined"),
        ({"hints": {"levels": {"warn_at": 0.0}}}, "hints.levels.warn_at"),
        ({"hints": {"types": {"Litter": {"enabled": False}}}}, "hints.types"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_policy_file_is_refused_with_the_field(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    content = {**json.loads(POLICY_FILE.read_text(encoding="utf-8")), **change}
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(DataFileError) as caught:
        load_policy(path)

    assert [problem.split(":")[0] for problem in caught.value.problems] == [field]


def test_a_users_policy_is_loaded_and_has_another_version(tmp_path: Path) -> None:
    content = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    content["rules"]["Hate"] = {"block_at": 0.9, "review_at": 0.8}
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content), encoding="utf-8")

    policy = load_policy(path)

    assert policy.decide(verdict(0.7, {"Hate": 0.7})).action is Action.ALLOW
    assert policy.version != default_policy().version


@pytest.mark.parametrize(("block_at", "review_at"), [(0.5, 0.6), (0.5, 0.0), (1.1, 0.5)])
def test_impossible_thresholds_are_refused(block_at: float, review_at: float) -> None:
    with pytest.raises(ValidationError):
        Rule(block_at=block_at, review_at=review_at)


def changed(**changes: Any) -> Policy:
    content = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    return Policy.model_validate({**content, **changes})


def with_risk(level: int, risk_type: str = "Hate", *, p_unsafe: float | None = None) -> Verdict:
    levels = [0.0, 0.0, 0.0, 0.0]
    levels[level] = 1.0
    rest = dict.fromkeys([*CATEGORIES, CLEAN], 0.0)
    risk = Risk((levels[0], levels[1], levels[2], levels[3]), {**rest, risk_type: 1.0})
    outcome = Outcome.UNDETERMINED
    if p_unsafe is not None:
        outcome = Outcome.UNSAFE if p_unsafe >= 0.5 else Outcome.SAFE
    return Verdict(outcome, p_unsafe, 1.0, risk=risk)


@pytest.mark.parametrize(
    ("level", "p_unsafe", "chosen"),
    [
        (2, 0.1, HintChoice(Hint.MAY_REFUSE, "risk", "Hate")),
        (2, 0.4, HintChoice(Hint.MAY_REFUSE, "risk", "Hate")),
        (1, 0.4, HintChoice(Hint.WARN, "risk", "Hate")),
        (0, 0.1, HintChoice(Hint.NONE, "risk")),
        (0, 0.4, HintChoice(Hint.WARN, "verdict")),
        (0, 0.99, HintChoice(Hint.MUST_REFUSE, "verdict")),
        (2, 0.99, HintChoice(Hint.MUST_REFUSE, "verdict")),
        (3, 0.99, HintChoice(Hint.MUST_REFUSE, "risk", "Hate")),
    ],
)
def test_of_a_safety_head_and_the_action_the_stricter_chooses_the_hint(
    level: int, p_unsafe: float, chosen: HintChoice
) -> None:
    verdict = with_risk(level, CLEAN if level == 0 else "Hate", p_unsafe=p_unsafe)

    assert default_policy().hint(verdict) == chosen


def test_of_equally_strict_ones_the_one_that_names_a_type_speaks() -> None:
    head = with_risk(1, CLEAN).risk
    judged = Verdict(Outcome.SAFE, 0.4, 1.0, categories={"Violence": 0.4}, risk=head)

    assert default_policy().hint(judged) == HintChoice(Hint.WARN, "verdict", "Violence")


def test_an_unsafe_piece_without_a_risk_is_not_hidden_by_a_clean_one_with_one() -> None:
    merged = merge([verdict(0.99, {"Hate": 0.99}), with_risk(0, CLEAN, p_unsafe=0.1)])

    assert default_policy().decide(merged).action is Action.BLOCK
    assert default_policy().hint(merged) == HintChoice(Hint.MUST_REFUSE, "verdict", "Hate")


@pytest.mark.parametrize(
    "parts",
    [
        [UNREAD, with_risk(0, CLEAN, p_unsafe=0.1)],
        [UNREAD, with_risk(0, CLEAN)],
        [UNREAD, with_risk(2, p_unsafe=0.1)],
    ],
)
def test_another_parts_safety_head_makes_up_for_no_gap(parts: list[Verdict]) -> None:
    assert default_policy().hint(merge(parts)) is None
    assert default_policy().hint(merge([merge(parts), parts[1]])) is None


def test_a_head_makes_up_for_a_failed_judgement_unless_the_policy_blocks_those() -> None:
    unjudged = with_risk(0, CLEAN)

    assert default_policy().hint(unjudged) == HintChoice(Hint.NONE, "risk")
    assert changed(undetermined="block").hint(unjudged) is None


def test_a_switched_off_part_of_a_merge_does_not_silence_another() -> None:
    policy = changed(hints={"types": {"Hate": {"enabled": False}}})
    parts = [with_risk(3, "Hate", p_unsafe=0.1), with_risk(2, "Violence", p_unsafe=0.1)]

    assert merge(parts).risk is not None
    assert policy.hint(merge(parts)) == HintChoice(Hint.MAY_REFUSE, "risk", "Violence")


def test_a_safety_head_alone_is_a_verdict() -> None:
    assert default_policy().hint(with_risk(3)) == HintChoice(Hint.MUST_REFUSE, "risk", "Hate")


@pytest.mark.parametrize(
    ("score", "hint", "named"),
    [(0.1, Hint.NONE, None), (0.4, Hint.WARN, "Hate"), (0.9, Hint.MUST_REFUSE, "Hate")],
)
def test_without_a_safety_head_the_action_chooses_the_hint(
    score: float, hint: Hint, named: str | None
) -> None:
    chosen = default_policy().hint(verdict(score, {"Hate": score, "Violence": score / 2}))

    assert chosen == HintChoice(hint, "verdict", named)


def test_what_is_unsafe_in_no_known_way_gets_a_hint_that_names_nothing() -> None:
    assert default_policy().hint(verdict(0.9)) == HintChoice(Hint.MUST_REFUSE, "verdict", None)


def test_what_was_not_judged_gets_no_hint_and_no_answer() -> None:
    assert default_policy().hint(UNREAD) is None
    assert changed(undetermined="block").hint(UNREAD) is None


@pytest.mark.parametrize("undetermined", ["review", "block"])
def test_a_part_that_was_not_judged_is_made_up_for_by_a_refusal_alone(undetermined: str) -> None:
    policy = changed(undetermined=undetermined)
    refused = policy.hint(merge([UNREAD, verdict(0.9, {"Hate": 0.9})]))

    assert refused == HintChoice(Hint.MUST_REFUSE, "verdict", "Hate", has_gap=True)
    assert policy.hint(merge([UNREAD, verdict(0.6, {"Deception": 0.6})])) is None


def test_a_category_that_is_switched_off_has_no_say() -> None:
    policy = changed(hints={"types": {"Hate": {"enabled": False}}})

    assert policy.hint(verdict(0.9, {"Hate": 0.9})) == HintChoice(Hint.NONE, "verdict")
    assert policy.hint(verdict(0.9, {"Hate": 0.9, "Violence": 0.6})) == HintChoice(
        Hint.MUST_REFUSE, "verdict", "Violence"
    )
    assert policy.decide(verdict(0.9, {"Hate": 0.9})).action is Action.BLOCK


def test_with_hints_switched_off_none_is_given_and_no_verdict_is_still_no_answer() -> None:
    policy = changed(hints={"enabled": False})

    assert policy.hint(with_risk(3)) == HintChoice(Hint.NONE, "off")
    assert policy.hint(verdict(0.9)) == HintChoice(Hint.NONE, "off")
    assert policy.hint(UNREAD) is None
    assert policy.hint(merge([UNREAD, verdict(0.9)])) is None


def test_a_policy_file_from_before_hints_gets_the_shipped_ones(tmp_path: Path) -> None:
    content = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    del content["hints"], content["chat"]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content), encoding="utf-8")

    policy = load_policy(path)

    assert policy.chat == default_policy().chat
    assert policy.hint(with_risk(3)) == default_policy().hint(with_risk(3))


@given(VERDICTS, POLICIES)
def test_a_hint_is_missing_only_where_something_was_not_judged(
    verdict: Verdict, policy: Policy
) -> None:
    if policy.hint(verdict) is None:
        assert verdict.has_undetermined_part


@given(st.lists(VERDICTS, min_size=1, max_size=3), POLICIES)
def test_what_is_blocked_is_not_answered_and_what_is_reviewed_not_without_a_warning(
    verdicts: list[Verdict], policy: Policy
) -> None:
    merged = merge(verdicts)
    action, choice = policy.decide(merged).action, policy.hint(merged)

    if choice is not None and (action is Action.BLOCK or not merged.has_undetermined_part):
        assert choice.hint.severity >= {"allow": 0, "review": 1, "block": 3}[action]


@given(st.lists(VERDICTS, min_size=1, max_size=3), HINTING_POLICIES)
def test_a_merge_gets_the_strictest_hint_of_its_parts(
    verdicts: list[Verdict], policy: Policy
) -> None:
    whole = policy.hint(merge(verdicts))
    parts = strictest([policy.hint(part) for part in verdicts])

    assert (whole is None) == (parts is None)
    if whole is not None and parts is not None:
        assert (whole.hint, whole.has_gap) == (parts.hint, parts.has_gap)
