"""The fast path: what a safety head alone [S2] says of a picture, and when that is enough.

A head with a learned query needs no language model. Calibration makes a probability of its score
(`server.concepts.head_score`) and says from where on the head is sure. What it is not sure of, or
says nothing usable about, is judged by the whole model.
"""

from dataclasses import dataclass
from typing import Literal

from server.concepts.calibration import JudgementCalibration
from server.concepts.head_score import head_p_unsafe
from server.concepts.recognition import Recognition
from server.concepts.risk import CLEAN, Risk
from server.concepts.verdict import UNSAFE_AT, Outcome, RawScores, Verdict, scores

FastPathUse = Literal["off", "allow_only", "both"]
"""What a safety head alone may say: nothing, that a picture is safe, or also that it is unsafe."""


@dataclass(frozen=True, slots=True)
class FastReading:
    """What the head says: its risk, and what it recognises where it knows concepts.

    May hold NaN from a broken forward pass; `is_usable` tells.
    """

    risk: Risk
    recognition: Recognition | None = None

    @property
    def is_usable(self) -> bool:
        """Whether a verdict can be made of it."""
        return self.risk.is_usable and (self.recognition is None or self.recognition.is_usable)


@dataclass(frozen=True, slots=True)
class SureBounds:
    """Where the head is sure: up to `allow_below`, and from `block_above` on; None: never there."""

    allow_below: float | None
    block_above: float | None

    def covers(self, p_unsafe: float) -> bool:
        """Whether the head may speak for itself; not for NaN."""
        is_low = self.allow_below is not None and p_unsafe <= self.allow_below
        return is_low or (self.block_above is not None and p_unsafe >= self.block_above)

    def __str__(self) -> str:
        return "-".join(
            "none" if bound is None else f"{bound:.4g}"
            for bound in (self.allow_below, self.block_above)
        )


def recognised(risk: Risk, concepts: dict[str, float], no_concept: float) -> Recognition:
    """The head's types and concepts as what a picture shows; "clean" is no category."""
    categories = {name: share for name, share in risk.types.items() if name != CLEAN}
    return Recognition(categories, risk.types[CLEAN], concepts, no_concept)


def fast_verdict(reading: FastReading, judgement: JudgementCalibration) -> Verdict | None:
    """The verdict that the head alone gives, sure or not; None where it said nothing usable.

    Nobody was asked for words, so no share of them is missing: `answer_mass` is 1.
    """
    if not reading.is_usable:
        return None
    said = head_p_unsafe(reading.risk)
    p_unsafe = judgement.apply(said)
    seen = reading.recognition
    return Verdict(
        outcome=Outcome.UNSAFE if p_unsafe >= UNSAFE_AT else Outcome.SAFE,
        p_unsafe=p_unsafe,
        answer_mass=1.0,
        categories=scores(p_unsafe, seen.categories) if seen else {},
        concepts=scores(p_unsafe, seen.concepts) if seen else {},
        recognition=seen,
        raw=None if judgement == JudgementCalibration() else RawScores(said, seen),
        risk=reading.risk,
        judged_by=frozenset({"safety_head"}),
    )
