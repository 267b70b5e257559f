"""The policy: what to do about a verdict, `allow`, `review` or `block`.

A policy is data and sees scores, never images; verdicts may be cached, actions may not, since
policies change. In the shipped one most categories block where "unsafe" outweighs "safe" (0.5), and
the review band below is several times wider than what bf16 rounding moves a probability (0.04).
Deception and health block later: news and health campaigns show the same things, so a person
decides unless the model is sure.

It also says which hint a written answer gets: the stricter of what a safety head's risk and what
the action call for. And whether that head alone may judge a picture that it is sure of: only
where this policy would then allow it, or block it, so that nothing to review is decided in haste.
"""

import math
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_serializer

from server.concepts.actions import (
    Action,
    Decision,
    Rule,
    Threshold,
    strictest_action,
)
from server.concepts.calibration import FastPathCalibration
from server.concepts.data_file import VersionedRecord, read_data_file
from server.concepts.fast_path import FastPathUse, SureBounds
from server.concepts.hint_rules import ChatRules, HintChoice, HintRules, strictest
from server.concepts.hints import Hint
from server.concepts.own_concepts import (
    MAX_OWN_CONCEPTS,
    NOTHING_FOUND,
    WORDING_REVISION,
    Findings,
    ListMatch,
    OwnConcept,
    has_unanswered,
    own_action,
)
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import Verdict

__all__ = ["Action", "Decision", "Policy", "Rule", "Threshold", "default_policy"]

POLICY_FILE = Path(__file__).with_name("policy.json")


def _covers_the_taxonomy(rules: Mapping[str, Rule]) -> Mapping[str, Rule]:
    names = set(load_taxonomy().category_names)
    if missing := sorted(names - rules.keys()):
        raise ValueError(f"no rule for {', '.join(missing)}")
    return only_categories(rules)


def only_categories(rules: Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The rules, frozen; raises `ValueError` for a name that is no category."""
    if unknown := sorted(rules.keys() - set(load_taxonomy().category_names)):
        raise ValueError(f"not a category: {', '.join(unknown)}")
    return MappingProxyType(dict(rules))


def only_concepts(rules: Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The rules, frozen; raises `ValueError` for a name that is no concept of the taxonomy."""
    if unknown := sorted(rules.keys() - set(load_taxonomy().concept_names)):
        raise ValueError(f"not a concept: {', '.join(unknown)}")
    return MappingProxyType(dict(rules))


def named_once(concepts: tuple[OwnConcept, ...]) -> tuple[OwnConcept, ...]:
    """The own concepts; raises `ValueError` where a name stands twice."""
    names = [concept.name for concept in concepts]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"named more than once: {', '.join(repeated)}")
    return concepts


ConceptRules = Annotated[Mapping[str, Rule], AfterValidator(only_concepts)]
OwnConcepts = Annotated[
    tuple[OwnConcept, ...], Field(max_length=MAX_OWN_CONCEPTS), AfterValidator(named_once)
]
Undetermined = Literal["review", "block", "error"]
Unavailable = Literal["error", "review"]
AuditFailure = Literal["continue", "error"]


class Policy(VersionedRecord):
    """One rule a category, and what to do about inputs that could not be judged.

    `concepts` are rules of single concepts: each takes the place of its category's rule for that
    concept, stricter or more lenient. `own_concepts` are asked about beside the judgement.

    `undetermined` (the model's answer says nothing) and `unavailable` (there is no answer: engine
    down, time run out) can't be `allow`: what can't be judged is never safe. ``error`` makes the
    call, or the input where each answers for itself, an error; `unavailable` as ``review`` makes it
    a result with that action. `audit_failure` says whether a call fails whose verdict can't be
    written to the audit log. `hints` and `chat` steer written answers alone. `fast_path` says for
    what a safety head alone may speak: nothing, what is allowed, or also what is blocked.
    """

    rules: Annotated[Mapping[str, Rule], AfterValidator(_covers_the_taxonomy)]
    concepts: ConceptRules = Field(default_factory=lambda: MappingProxyType({}))
    own_concepts: OwnConcepts = ()
    undetermined: Undetermined = "review"
    unavailable: Unavailable = "error"
    audit_failure: AuditFailure = "continue"
    hints: HintRules = Field(default_factory=HintRules)
    chat: ChatRules = Field(default_factory=ChatRules)
    fast_path: FastPathUse = "off"

    @field_serializer("rules", "concepts")
    def _as_plain_dict(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        return dict(rules)

    def versioned_content(self) -> dict[str, Any]:
        """Everything, and with own concepts the words that they are asked about in."""
        content = self.model_dump(mode="json")
        return content | ({"own_wording": WORDING_REVISION} if self.own_concepts else {})

    @property
    def _every_rule(self) -> tuple[Rule, ...]:
        return (*self.rules.values(), *self.concepts.values())

    @cached_property
    def strictest(self) -> Rule:
        """The lowest thresholds of all: what is unsafe in an unknown way gets no benefit."""
        return Rule(
            block_at=min(rule.block_at for rule in self._every_rule),
            review_at=min(rule.review_at for rule in self._every_rule),
        )

    @cached_property
    def _concept_rules_in(self) -> Mapping[str, Mapping[str, Rule]]:
        """By category, the rules of its concepts; without those that have none."""
        found: dict[str, dict[str, Rule]] = {}
        for name, rule in self.concepts.items():
            found.setdefault(load_taxonomy().category_of(name), {})[name] = rule
        return found

    def rule(self, category: str) -> Rule:
        """The category's rule; the strictest for a category that the policy does not name."""
        rule = self.rules.get(category)
        return self.strictest if rule is None else rule

    def category_action(self, category: str, verdict: Verdict) -> Action:
        """What a category's score calls for.

        The score is shared out over the category's concepts as a judgement is over what was
        recognised: the likeliest carries all of it. Each share is held against its concept's own
        rule, if it has one (or the concept's own score is, where that is higher), else against the
        category's. Where no concept is told from another, all their rules count.
        """
        score, rule = verdict.categories[category], self.rule(category)
        own = self._concept_rules_in.get(category)
        if own is None:
            return rule.action(score)
        scores = {
            name: verdict.concepts[name]
            for name in load_taxonomy().concepts_of(category)
            if name in verdict.concepts
        }
        highest = max(scores.values(), default=0.0)
        if highest <= 0.0:
            return strictest_action(one.action(score) for one in (rule, *own.values()))
        shares = {name: score * (found / highest) for name, found in scores.items()}
        return strictest_action(
            own[name].action(max(share, scores[name])) if name in own else rule.action(share)
            for name, share in shares.items()
        )

    def decide(self, verdict: Verdict, findings: Findings = NOTHING_FOUND) -> Decision:
        """The strictest action that any score, or the lack of one, calls for.

        A list that the input is on decides alone. For several inputs take each one's decision and
        the strictest of those (`strictest_decision`): findings belong to one input.
        """
        if findings.listed is not None:
            return _of_list(findings.listed)
        actions = {name: self.category_action(name, verdict) for name in verdict.categories}
        beside = [own_action(self.own_concepts, findings.own_concepts)]
        if verdict.unclassified is not None:
            beside.append(self.strictest.action(verdict.unclassified))
        if verdict.has_undetermined_part or has_unanswered(
            self.own_concepts, findings.own_concepts
        ):
            beside.append(Action.BLOCK if self.undetermined == "block" else Action.REVIEW)
        unclassified = strictest_action(beside)
        action = strictest_action((*actions.values(), unclassified))
        flagged = [name for name, called_for in actions.items() if called_for is Action.BLOCK]
        return Decision(
            action=action,
            flagged=action is Action.BLOCK,
            flagged_categories=tuple(
                sorted(flagged, key=lambda name: verdict.categories[name], reverse=True)
            ),
            flagged_unclassified=unclassified is Action.BLOCK,
        )

    def sure_bounds(self, fitted: FastPathCalibration) -> SureBounds | None:
        """Where a safety head is sure enough under this policy; None: nowhere.

        The fitted thresholds, moved where needed so that all below is allowed by every rule, and
        all above is blocked by every rule, whatever category it is given.
        """
        allow_below = block_above = None
        if self.fast_path != "off" and fitted.allow_below is not None:
            allow_below = min(fitted.allow_below, math.nextafter(self.strictest.review_at, 0.0))
        if self.fast_path == "both" and fitted.block_above is not None:
            highest = max(rule.block_at for rule in self._every_rule)
            block_above = max(fitted.block_above, highest)
        if allow_below is None and block_above is None:
            return None
        return SureBounds(allow_below, block_above)

    def hint(self, verdict: Verdict, findings: Findings = NOTHING_FOUND) -> HintChoice | None:
        """How to answer about an input with this verdict; None: not at all, it was not judged.

        The strictest of what a safety head's risks and what the scores call for; of equals the
        head's, unless only the scores name a type. Scores speak through their actions: allow,
        review and block call for no hint, a warning and a refusal. Types that are switched off have
        no say in either; a judgement that no category carries, and an own concept, always have. A
        list that the input is on decides alone, hints switched off or not. A merge is treated as
        the `strictest` of its parts.
        """
        if findings.listed is not None:
            is_blocked = findings.listed.list == "block"
            return HintChoice(Hint.MUST_REFUSE if is_blocked else Hint.NONE, "list")
        choices: list[HintChoice | None] = []
        if self.hints.enabled:
            own = own_action(self.own_concepts, findings.own_concepts)
            if own is not Action.ALLOW:
                choices.append(HintChoice(_HINTS[own], "own_concept"))
            choices += (self.hints.of_risk(risk) for risk in verdict.risk_parts)
            if verdict.p_unsafe is not None:
                choices.append(self._hint_of_scores(verdict))
        else:
            choices.append(HintChoice(Hint.NONE, "off"))
        if self._has_gap(verdict) or has_unanswered(self.own_concepts, findings.own_concepts):
            choices.append(None)
        return strictest(choices)

    def _has_gap(self, verdict: Verdict) -> bool:
        """Whether nobody judged some of it.

        A head that spoke makes up for a judgement that failed, unless the policy is stricter.
        """
        if self.undetermined != "review":
            return verdict.has_undetermined_part
        return verdict.has_unjudged_part

    def _hint_of_scores(self, verdict: Verdict) -> HintChoice:
        actions = {
            name: self.category_action(name, verdict)
            for name in verdict.categories
            if self.hints.is_on(name)
        }
        unclassified = Action.ALLOW
        if verdict.unclassified is not None:
            unclassified = self.strictest.action(verdict.unclassified)
        action = strictest_action((*actions.values(), unclassified))
        named = [name for name, called_for in actions.items() if called_for is action]
        likeliest = max(named, key=lambda name: verdict.categories[name], default=None)
        return HintChoice(_HINTS[action], "verdict", None if action is Action.ALLOW else likeliest)


_HINTS = MappingProxyType(
    {Action.ALLOW: Hint.NONE, Action.REVIEW: Hint.WARN, Action.BLOCK: Hint.MUST_REFUSE}
)


def _of_list(match: ListMatch) -> Decision:
    is_blocked = match.list == "block"
    return Decision(
        action=Action.BLOCK if is_blocked else Action.ALLOW,
        flagged=is_blocked,
        flagged_categories=(),
        flagged_unclassified=is_blocked,
    )


@cache
def default_policy() -> Policy:
    """The shipped policy, read once; it is frozen, so sharing it is safe."""
    return read_data_file(POLICY_FILE, Policy)
