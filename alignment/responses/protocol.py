"""The seam between an answer of a VLM and what it says about safety.

After S1, which maps every answer to safe, unsafe or "no answer" with a classifier. Here "no answer"
is never dropped on the way: it has its own probability, and whoever counts decides what it counts
for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol


class ResponseOutcome(StrEnum):
    """What an answer says about its subject."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Response:
    """A VLM's answer to a yes/no question.

    `unsafe_answer` is the answer that says "unsafe". `text` is a written answer, `option_mass` the
    first-token probabilities of "yes" and "no"; a response has one of the two, or both.
    """

    question: str
    unsafe_answer: Literal["yes", "no"]
    text: str | None = None
    option_mass: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """Probabilities of the three outcomes; they sum to 1.

    Raises `ValueError` for anything else, NaN included.
    """

    safe: float
    unsafe: float
    no_answer: float

    def __post_init__(self) -> None:
        numbers = (self.safe, self.unsafe, self.no_answer)
        if not all(0.0 <= number <= 1.0 for number in numbers) or not math.isclose(
            math.fsum(numbers), 1.0, abs_tol=1e-6
        ):
            raise ValueError(f"not probabilities of three outcomes: {numbers}")

    @property
    def outcome(self) -> ResponseOutcome:
        """The likeliest outcome; "no answer" where safe and unsafe are equally likely."""
        if self.unsafe > self.safe and self.unsafe > self.no_answer:
            return ResponseOutcome.UNSAFE
        if self.safe > self.unsafe and self.safe > self.no_answer:
            return ResponseOutcome.SAFE
        return ResponseOutcome.NO_ANSWER

    @property
    def p_unsafe(self) -> float | None:
        """The share of "unsafe" among the two answers; None where neither has any probability."""
        answered = self.safe + self.unsafe
        return self.unsafe / answered if answered > 0.0 else None


class ResponseClassifier(Protocol):
    """Maps answers to outcomes."""

    @property
    def name(self) -> str:
        """Names the classifier and its version, for records: another one gives other figures."""
        ...

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        """One classification a response, in their order.

        Raises `ValueError` for a response that lacks the part (text or option mass) this classifier
        reads.
        """
        ...


NO_ANSWER = Classification(safe=0.0, unsafe=0.0, no_answer=1.0)
"""What an empty, refused or unreadable answer is classified as."""


@dataclass(frozen=True, slots=True)
class LetteredResponse:
    """A VLM's answer to a lettered question with these `options` (A, B, C, ... in order).

    It has a written `text`, first-token probabilities of the letters, or both.
    """

    question: str
    options: tuple[str, ...]
    text: str | None = None
    option_mass: Mapping[str, float] | None = None


class LetterClassifier(Protocol):
    """Maps answers to lettered questions to the letter they choose."""

    @property
    def name(self) -> str:
        """Names the classifier and its version, for records."""
        ...

    async def choose(self, responses: Sequence[LetteredResponse]) -> list[str | None]:
        """The letter that each response chooses, in their order; None for no answer.

        Raises `ValueError` for a response that lacks the part this classifier reads.
        """
        ...
