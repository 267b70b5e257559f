"""Verdicts in the endpoint's words.

The original knows two outcomes and we have three, so the third needs a place that no reader takes
for safe. An input that could not be judged, or that was refused where each input answers for
itself, is `flagged`, with the stand-in key of `server.concepts.endpoint_keys` true and its score 1:
who reads only `flagged`, only `categories` or only the scores is warned alike. `null` would say it
better and breaks typed clients. What tells it apart is `category_applied_input_types`, which names
what was judged and stays empty, and `sightward.outcome` where that was asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from server.api.errors import ErrorObject
from server.api.schemas import (
    ConceptScore,
    FailedInput,
    Likeliest,
    Listed,
    ModerationResult,
    RawScores,
    Recognised,
    ResultDetail,
    RiskDetail,
    TimingsMs,
)
from server.concepts.actions import Action, Decision, strictest_decision
from server.concepts.endpoint_keys import key_results
from server.concepts.own_concepts import NOTHING_FOUND, Findings
from server.concepts.policy import Policy
from server.concepts.policy_book import TenantPolicy
from server.concepts.recognition import Recognition
from server.concepts.taxonomy import Taxonomy
from server.concepts.verdict import UNREAD, Outcome, Verdict, merge
from server.moderator import ScoreSource

Modality = Literal["text", "image"]

_TOP_CONCEPTS = 5
_NONE = "none"


@dataclass(frozen=True, slots=True)
class Course:
    """How a result came about: its times, where its scores come from, how unlike a look-alike is.

    `look_alike_bits` is the largest distance of several; None without a look-alike. `fingerprints`
    are the pictures', `model_versions` those of what judged: two where a canary judged some.
    """

    timings_ms: TimingsMs
    scores_from: frozenset[ScoreSource]
    look_alike_bits: int | None
    fingerprints: tuple[str, ...] = ()
    model_versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What a decision about one input is made of."""

    verdict: Verdict
    findings: Findings = NOTHING_FOUND


@dataclass(frozen=True, slots=True)
class ResultWriter:
    """Writes results under one policy; `model_version` is the default's, which explains them.

    A result stands for one input or for several: the worst scores, and the strictest action of all.
    """

    policy: TenantPolicy
    taxonomy: Taxonomy
    model_version: str

    def action(self, parts: Iterable[Part]) -> Action:
        """What the policy says to do."""
        return _decision(self.policy.policy, parts).action

    def plain(self, parts: Sequence[Part], modalities: Iterable[Modality]) -> ModerationResult:
        """The result without extras. `modalities` are those of the inputs it stands for."""
        applied = sorted(set(modalities), reverse=True)
        # The plain shape has no review band to put the undetermined in.
        two_outcomes = self.policy.policy.model_copy(update={"undetermined": Action.BLOCK.value})
        decision = _decision(two_outcomes, parts)
        keys = key_results(merge(part.verdict for part in parts), two_outcomes, decision)
        return ModerationResult(
            flagged=decision.flagged,
            categories={result.key.value: result.flagged for result in keys},
            category_scores={
                result.key.value: float(result.flagged) if result.score is None else result.score
                for result in keys
            },
            category_applied_input_types={
                result.key.value: [] if result.score is None else list(applied) for result in keys
            },
        )

    def detailed(
        self, parts: Sequence[Part], modalities: Iterable[Modality], course: Course
    ) -> ModerationResult:
        """The result with everything known about it."""
        detail = self.detail(parts, course)
        return self.plain(parts, modalities).model_copy(update={"sightward": detail})

    def detail(self, parts: Sequence[Part], course: Course) -> ResultDetail:
        """Everything known about inputs, in our own words alone."""
        verdict = merge(part.verdict for part in parts)
        likeliest = sorted(verdict.concepts.items(), key=lambda item: item[1], reverse=True)
        return ResultDetail(
            outcome=verdict.outcome,
            p_unsafe=verdict.p_unsafe,
            action=self.action(parts),
            categories=dict(verdict.categories),
            concepts=[
                ConceptScore(concept=name, category=self.taxonomy.category_of(name), score=score)
                for name, score in likeliest[:_TOP_CONCEPTS]
            ],
            recognised=_recognised(verdict.recognition),
            risk=RiskDetail.of(verdict.risk),
            raw=_raw(verdict),
            judged_by=sorted(verdict.judged_by),
            scores_from=sorted(course.scores_from),
            look_alike_bits=course.look_alike_bits,
            own_concepts=_own_concepts(parts),
            listed=_listed(parts),
            fingerprints=list(course.fingerprints),
            model_version=", ".join(course.model_versions) or self.model_version,
            policy_version=self.policy.version,
            timings_ms=course.timings_ms,
        )

    def failed(self, error: ErrorObject) -> ModerationResult:
        """The result of an input that was refused: flagged, and saying why."""
        refused = (Part(UNREAD),)
        failure = FailedInput(
            outcome=Outcome.UNDETERMINED, action=self.action(refused), error=error
        )
        return self.plain(refused, ()).model_copy(update={"sightward": failure})


def _decision(policy: Policy, parts: Iterable[Part]) -> Decision:
    return strictest_decision(policy.decide(part.verdict, part.findings) for part in parts)


def _own_concepts(parts: Sequence[Part]) -> dict[str, float | None]:
    """The highest of each; None where one of the inputs got no answer about it."""
    names = {name for part in parts for name in part.findings.own_concepts}
    highest: dict[str, float | None] = {}
    for name in sorted(names):
        scores = [part.findings.own_concepts.get(name) for part in parts]
        known = [score for score in scores if score is not None]
        highest[name] = max(known) if len(known) == len(scores) else None
    return highest


def _listed(parts: Sequence[Part]) -> Listed | None:
    """The list that an input is on: a block-list's before an allow-list's."""
    matches = [part.findings.listed for part in parts if part.findings.listed is not None]
    matches.sort(key=lambda match: match.list == "allow")
    return Listed(list=matches[0].list, source=matches[0].source) if matches else None


def _raw(verdict: Verdict) -> RawScores:
    raw = verdict.raw
    if raw is None:  # nothing was calibrated: the scores are the raw ones
        return RawScores(p_unsafe=verdict.p_unsafe, recognised=_recognised(verdict.recognition))
    return RawScores(p_unsafe=raw.p_unsafe, recognised=_recognised(raw.recognition))


def _recognised(recognition: Recognition | None) -> Recognised | None:
    if recognition is None:
        return None
    return Recognised(
        category=_likeliest(recognition.categories, recognition.no_category),
        concept=_likeliest(recognition.concepts, recognition.no_concept)
        if recognition.concepts
        else None,
    )


def _likeliest(probabilities: Mapping[str, float], none: float) -> Likeliest:
    shares = {**probabilities, _NONE: none}
    name = max(shares, key=lambda name: shares[name])
    return Likeliest(name=name, probability=shares[name])
