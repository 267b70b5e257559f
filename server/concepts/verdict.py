"""The verdict on one input, with three outcomes: safe, unsafe, undetermined.

The yes/no probes judge (`p_unsafe`), recognition says what is shown; scores combine the two. What
can't be judged is undetermined, which is never safe, also not when verdicts are merged.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from server.concepts.calibration import RAW, ModalityCalibration
from server.concepts.head_score import head_p_unsafe, pooled
from server.concepts.recognition import Recognition
from server.concepts.risk import Risk, distinct, worst

UNSAFE_AT = 0.5

JudgedBy = Literal["model", "safety_head"]
"""The whole model, or its safety head alone where that was sure (`server.concepts.fast_path`)."""

_Content = tuple[tuple[str, float], ...]


class Outcome(StrEnum):
    """What a verdict says; "could not tell" is a value of its own."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNDETERMINED = "undetermined"

    @property
    def severity(self) -> int:
        """Order in a merge: unsafe beats undetermined, undetermined beats safe."""
        return (Outcome.SAFE, Outcome.UNDETERMINED, Outcome.UNSAFE).index(self)


@dataclass(frozen=True, slots=True)
class RawScores:
    """What the model itself said, before calibration."""

    p_unsafe: float | None
    recognition: Recognition | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome and scores, all in [0, 1].

    `p_unsafe` is None only if nothing could be read. `answer_mass` is the mean share of first-token
    probability that went to yes or no. `categories` holds nine scores or none, `concepts` 75, fewer
    or none. `unclassified` is a judgement that no category carries; it is filled in where
    `p_unsafe` exceeds every category, so what was judged always has a score to hold against a
    threshold. `has_undetermined_part` stays true when a merge with something unsafe hides that a
    part could not be judged: a lenient policy may allow the one and must not allow the other.
    `has_unjudged_part` says the same of parts about which no safety head spoke either.
    `recognition` is what the scores were made of, independent of the judgement. `raw` is what both
    were before they were calibrated, None where nothing was. `risk` is what a safety head said
    beside the judgement, in which it has the calibration's `head_share`; None without a head or a
    usable answer from it.
    `risk_parts` are the different risks that a merge made `risk` of: a policy may treat types
    unlike, and one risk names only the riskiest part's.
    `judged_by` names the path of each part: both after a merge of such, none if nothing was asked.

    Raises `ValueError` when outcome and `p_unsafe` contradict each other or a number is out of
    range, so that no such verdict can exist.
    """

    outcome: Outcome
    p_unsafe: float | None
    answer_mass: float
    categories: Mapping[str, float] = field(default_factory=dict)
    concepts: Mapping[str, float] = field(default_factory=dict)
    unclassified: float | None = None
    has_undetermined_part: bool = False
    has_unjudged_part: bool = False
    recognition: Recognition | None = None
    raw: RawScores | None = None
    risk: Risk | None = None
    risk_parts: tuple[Risk, ...] = ()
    judged_by: frozenset[JudgedBy] = frozenset({"model"})

    def __post_init__(self) -> None:
        optional = [p for p in (self.p_unsafe, self.unclassified) if p is not None]
        scores = (*optional, self.answer_mass, *self.categories.values(), *self.concepts.values())
        # Written so that NaN, which compares false to everything, is refused.
        if not all(0.0 <= score <= 1.0 for score in scores):
            raise ValueError(f"verdict numbers must be in [0, 1], got {scores}")
        if self.risk is not None and not self.risk.is_usable:
            raise ValueError(f"a verdict's risk must be usable, got {self.risk}")
        is_unsafe = self.p_unsafe is not None and self.p_unsafe >= UNSAFE_AT
        if is_unsafe != (self.outcome is Outcome.UNSAFE):
            raise ValueError(f"outcome {self.outcome} contradicts p_unsafe {self.p_unsafe}")
        if self.p_unsafe is None and self.outcome is not Outcome.UNDETERMINED:
            raise ValueError(f"outcome {self.outcome} without p_unsafe")
        if self.outcome is Outcome.UNDETERMINED:
            object.__setattr__(self, "has_undetermined_part", True)
            if self.risk is None:
                object.__setattr__(self, "has_unjudged_part", True)
        if self.risk is not None and not self.risk_parts:
            object.__setattr__(self, "risk_parts", (self.risk,))
        if self.p_unsafe is not None and not any(
            score >= self.p_unsafe
            for score in (*self.categories.values(), self.unclassified or 0.0)
        ):
            object.__setattr__(self, "unclassified", self.p_unsafe)


UNREAD = Verdict(
    outcome=Outcome.UNDETERMINED, p_unsafe=None, answer_mass=0.0, judged_by=frozenset()
)
"""The verdict on an input about which no question could be asked."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One yes/no probe's answer: first-token probability of the unsafe and of the safe answer.

    Numbers that are no probabilities (NaN, negative) count as no answer at all.
    """

    unsafe_mass: float
    safe_mass: float

    @property
    def answer_mass(self) -> float:
        """Probability that went to either answer, in [0, 1]."""
        masses = (self.unsafe_mass, self.safe_mass)
        if not all(math.isfinite(mass) and mass >= 0.0 for mass in masses):
            return 0.0
        return min(1.0, math.fsum(masses))

    @property
    def p_unsafe(self) -> float | None:
        """The unsafe answer's share of both; None without any answer mass."""
        if self.answer_mass <= 0.0:
            return None
        # The scale keeps masses near the smallest float from underflowing in the division.
        scale = max(self.unsafe_mass, self.safe_mass)
        unsafe, safe = self.unsafe_mass / scale, self.safe_mass / scale
        return unsafe / (unsafe + safe)


def verdict_of(
    readings: Sequence[Reading],
    recognition: Recognition | None,
    *,
    min_answer_mass: float,
    calibration: ModalityCalibration = RAW,
    risk: Risk | None = None,
) -> Verdict:
    """The verdict from the yes/no readings of one input, what was recognised in it, and its risk.

    A reading below `min_answer_mass` is no answer and has no say in `p_unsafe`, which is the mean
    over the others; with none left the outcome is undetermined. That mean, pooled with the risk
    where the calibration gives it a share, and what was recognised are calibrated before anything
    is made of them. An unusable recognition or risk is left out.
    Raises `ValueError` without readings.
    """
    if not readings:
        raise ValueError("a verdict needs at least one reading")
    answer_mass = math.fsum(reading.answer_mass for reading in readings) / len(readings)
    answers = [
        reading.p_unsafe
        for reading in readings
        if reading.p_unsafe is not None and reading.answer_mass >= min_answer_mass
    ]
    seen = recognition if recognition is not None and recognition.is_usable else None
    said = min(1.0, math.fsum(answers) / len(answers)) if answers else None
    usable = seen if seen is None or calibration.is_identity else calibration.recognition(seen)
    raw = None if calibration.is_identity else RawScores(said, seen)
    known_risk = risk if risk is not None and risk.is_usable else None
    if said is None:
        return Verdict(
            Outcome.UNDETERMINED, None, answer_mass, recognition=usable, raw=raw, risk=known_risk
        )
    head = None if known_risk is None else head_p_unsafe(known_risk)
    p_unsafe = calibration.judgement.apply(pooled(said, head, calibration.head_share))
    return Verdict(
        outcome=Outcome.UNSAFE if p_unsafe >= UNSAFE_AT else Outcome.SAFE,
        p_unsafe=p_unsafe,
        answer_mass=min(1.0, answer_mass),
        categories=scores(p_unsafe, usable.categories) if usable else {},
        concepts=scores(p_unsafe, usable.concepts) if usable else {},
        recognition=usable,
        raw=raw,
        risk=known_risk,
    )


def scores(p_unsafe: float, probabilities: Mapping[str, float]) -> dict[str, float]:
    """Spread a judgement over what was recognised: ``p_unsafe * P(c) / max P``.

    The likeliest name carries the whole judgement and the others their proportion of it. Dividing
    by the maximum rather than the sum keeps a picture that is half hate, half violence from
    slipping under both thresholds; leaving "none" out keeps an unsafe picture of nothing known from
    doing so. When every probability is 0 nothing tells the names apart and each carries it all.
    """
    highest = max(probabilities.values(), default=0.0)
    if highest <= 0.0:
        return dict.fromkeys(probabilities, p_unsafe)
    return {name: p_unsafe * (p / highest) for name, p in probabilities.items()}


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for several inputs, or for the pieces of one: the worst of each number.

    Unsafe beats undetermined and undetermined beats safe. `p_unsafe` and every score are the
    highest, `answer_mass` the lowest, `recognition` and `raw` the most unsafe input's, `risk` the
    `worst` of those known. What any part lacks, the whole lacks. Order and repetition of the inputs
    change nothing. Raises `ValueError` without verdicts.
    """
    parts = tuple(verdicts)
    if not parts:
        raise ValueError("nothing to merge")
    if len(parts) == 1:
        return parts[0]
    most_unsafe = max(parts, key=_precedence)
    return Verdict(
        outcome=max((part.outcome for part in parts), key=lambda outcome: outcome.severity),
        p_unsafe=max((part.p_unsafe for part in parts if part.p_unsafe is not None), default=None),
        answer_mass=min(part.answer_mass for part in parts),
        categories=_highest(part.categories for part in parts),
        concepts=_highest(part.concepts for part in parts),
        unclassified=max(
            (part.unclassified for part in parts if part.unclassified is not None), default=None
        ),
        has_undetermined_part=any(part.has_undetermined_part for part in parts),
        has_unjudged_part=any(part.has_unjudged_part for part in parts),
        recognition=most_unsafe.recognition,
        raw=most_unsafe.raw,
        # Of the parts' own risks: a merged one is riskier than any, and would hide later types.
        risk=worst(risk for part in parts for risk in part.risk_parts),
        risk_parts=distinct(risk for part in parts for risk in part.risk_parts),
        judged_by=frozenset(judge for part in parts for judge in part.judged_by),
    )


def _highest(maps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    highest: dict[str, float] = {}
    for scores_by_name in maps:
        for name, score in scores_by_name.items():
            highest[name] = max(score, highest.get(name, 0.0))
    return highest


def _precedence(verdict: Verdict) -> tuple[float, float, _Content, _Content]:
    """Highest `p_unsafe` first; ties are broken by content, so that order does not matter."""
    raw = RawScores(None, None) if verdict.raw is None else verdict.raw
    return (
        -1.0 if verdict.p_unsafe is None else verdict.p_unsafe,
        -1.0 if raw.p_unsafe is None else raw.p_unsafe,
        _content(verdict.recognition),
        _content(raw.recognition),
    )


def _content(seen: Recognition | None) -> _Content:
    if seen is None:
        return ()
    return (
        ("", seen.no_category),
        *sorted(seen.categories.items()),
        ("", seen.no_concept),
        *sorted(seen.concepts.items()),
    )
