"""What an answer says about one picture, from our own endpoint or from any of OpenAI's shape.

Without our `sightward` detail there are thirteen scores and a flag. Then P(unsafe) is the highest
score, the verdict is the flag, and nothing is recognised. An answer that says nothing readable is
an error, never "safe".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.load.peer import Contract

Verdict = Literal["safe", "unsafe", "undetermined"]


class _Name(BaseModel):
    name: str


class _Recognised(BaseModel):
    category: _Name
    concept: _Name | None


class _Detail(BaseModel):
    outcome: Verdict
    p_unsafe: float | None
    categories: dict[str, float] = {}
    recognised: _Recognised | None = None
    scores_from: tuple[str, ...] = ()


class _Result(BaseModel):
    flagged: bool
    category_scores: dict[str, float | None]
    sightward: _Detail | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str = ""
    results: list[_Result]


@dataclass(frozen=True, slots=True)
class Said:
    """One picture's verdict.

    `scores` are by category: our nine, or the contract's keys where that is all there is.
    `from_cache` tells that it was not judged anew: its scores are those of another question.
    """

    verdict: Verdict
    p_unsafe: float | None
    scores: Mapping[str, float]
    category: str | None = None
    concept: str | None = None
    from_cache: bool = False
    model: str = ""


def read_said(body: bytes, contract: Contract) -> Said | None:
    """What the answer says; None where it does not say it in the contract's words."""
    try:
        answer = _Answer.model_validate(json.loads(body))
        result = answer.results[0]
    except (ValueError, IndexError, ValidationError):
        return None
    detail = result.sightward
    if contract == "openai":
        scores = {name: one for name, one in result.category_scores.items() if one is not None}
        return Said(
            verdict="unsafe" if result.flagged else "safe",
            p_unsafe=max(scores.values(), default=None),
            scores=scores,
            model=answer.model,
        )
    if detail is None:
        return None
    seen = detail.recognised
    return Said(
        verdict=detail.outcome,
        p_unsafe=detail.p_unsafe,
        scores=detail.categories,
        category=seen.category.name if seen else None,
        concept=seen.concept.name if seen and seen.concept else None,
        from_cache=any(source != "model" for source in detail.scores_from),
        model=answer.model,
    )
