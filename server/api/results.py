"""Verdicts in the endpoint's words.

The original knows two outcomes and we have three, so the third needs a place that no reader takes
for safe. An input that could not be judged, or that was refused where each input answers for
itself, is `flagged`, with the stand-in key of `server.concepts.endpoint_keys` true and its score 1:
who reads only `flagged`, only `categories` or only the scores is warned alike. `null` would say it
better and breaks typed clients. What tells it apart is `category_applied_input_types`, which names
what was judged and stays empty, and `sightward.outcome` where that was asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from server.api.errors import ErrorObject
from server.api.schemas import (
    ConceptScore,
    FailedInput,
    Likeliest,
    ModerationResult,
    RawScores,
    Recognised,
    ResultDetail,
    RiskDetail,
    TimingsMs,
)
from server.concepts.endpoint_keys import key_results
from server.concepts.policy import Action, Policy
from server.concepts.recognition import Recognition
from server.concepts.taxonomy import Taxonomy
from server.concepts.verdict import UNREAD, Outcome, Verdict
from server.moderator import ScoreSource

Modality = Literal["text", "image"]

_TOP_CONCEPTS = 5
_NONE = "none"


@dataclass(frozen=True, slots=True)
class Course:
    """How a result came about: its times, where its scores come from, how unlike a look-alike is.

    `look_alike_bits` is the largest distance of several; None without a look-alike.
    """

    timings_ms: TimingsMs
    scores_from: frozenset[ScoreSource]
    look_alike_bits: int | None


@dataclass(frozen=True, slots=True)
class ResultWriter:
    """Writes results under one policy; `model_version` is what explains them."""

    policy: Policy
    taxonomy: Taxonomy
    model_version: str

    def action(self, verdict: Verdict) -> Action:
        """What the policy says to do."""
        return self.policy.decide(verdict).action

    def plain(self, verdict: Verdict, modalities: Iterable[Modality]) -> ModerationResult:
        """The result without extras. `modalities` are those of the inputs it stands for."""
        applied = sorted(set(modalities), reverse=True)
        # The plain shape has no review band to put the undetermined in.
        two_outcomes = self.policy.model_copy(update={"undetermined": Action.BLOCK.value})
        keys = key_results(verdict, two_outcomes)
        return ModerationResult(
            flagged=two_outcomes.decide(verdict).flagged,
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
        self, verdict: Verdict, modalities: Iterable[Modality], course: Course
    ) -> ModerationResult:
        """The result with everything known about it."""
        detail = self.detail(verdict, course)
        return self.plain(verdict, modalities).model_copy(update={"sightward": detail})

    def detail(self, verdict: Verdict, course: Course) -> ResultDetail:
        """Everything known about a verdict, in our own words alone."""
        likeliest = sorted(verdict.concepts.items(), key=lambda item: item[1], reverse=True)
        return ResultDetail(
            outcome=verdict.outcome,
            p_unsafe=verdict.p_unsafe,
            action=self.action(verdict),
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
            model_version=self.model_version,
            timings_ms=course.timings_ms,
        )

    def failed(self, error: ErrorObject) -> ModerationResult:
        """The result of an input that was refused: flagged, and saying why."""
        failure = FailedInput(outcome=Outcome.UNDETERMINED, action=self.action(UNREAD), error=error)
        return self.plain(UNREAD, ()).model_copy(update={"sightward": failure})


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
