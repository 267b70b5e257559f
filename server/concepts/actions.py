"""Actions, and the thresholds that scores are held against to choose one."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Self

from pydantic import Field, model_validator

from server.concepts.data_file import FrozenRecord

# A threshold of 0 would be reached by every picture, also by one that was judged wholly safe.
Threshold = Annotated[float, Field(gt=0.0, le=1.0)]


class Action(StrEnum):
    """What to do about an input."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"

    severity: int
    """Order from lenient to strict."""

    def __new__(cls, value: str) -> Self:
        """The next stricter one."""
        made = str.__new__(cls, value)
        made._value_ = value
        made.severity = len(cls.__members__)
        return made


class Rule(FrozenRecord):
    """Two thresholds: block from `block_at`, review from `review_at` up to there."""

    block_at: Threshold
    review_at: Threshold

    @model_validator(mode="after")
    def _review_comes_first(self) -> Self:
        if self.review_at > self.block_at:
            raise ValueError("review_at must not be above block_at")
        return self

    def action(self, score: float) -> Action:
        """What this rule says about a score in [0, 1]."""
        if score >= self.block_at:
            return Action.BLOCK
        return Action.REVIEW if score >= self.review_at else Action.ALLOW


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says about one input, or about all inputs of a call together.

    `flagged` means blocked. `flagged_categories` reached their thresholds, highest score first; it
    is empty when an input was blocked without a category, which `flagged_unclassified` says: for a
    judgement that no category carries, an own concept, a list, or the lack of a judgement.
    """

    action: Action
    flagged: bool
    flagged_categories: tuple[str, ...]
    flagged_unclassified: bool


def strictest_action(actions: Iterable[Action]) -> Action:
    """The strictest of the actions; `allow` without any."""
    return max(actions, key=attrgetter("severity"), default=Action.ALLOW)


def strictest_decision(decisions: Iterable[Decision]) -> Decision:
    """What is done about inputs together: the strictest for each of them, flagged for all reasons.

    Raises `ValueError` without any.
    """
    every = tuple(decisions)
    if not every:
        raise ValueError("no decisions")
    if len(every) == 1:
        return every[0]
    names = (name for decision in every for name in decision.flagged_categories)
    return Decision(
        action=strictest_action(decision.action for decision in every),
        flagged=any(decision.flagged for decision in every),
        flagged_categories=tuple(dict.fromkeys(names)),
        flagged_unclassified=any(decision.flagged_unclassified for decision in every),
    )
