"""The modality gap: alignment by words minus alignment by picture, on unsafe subjects.

After S1. Words are asked about once a concept, pictures come in different numbers for each, so the
words count once for every picture of their concept: both sides then weigh concepts alike. Pictures
of a concept without words are left out of both sides.

For the interval, groups of pictures are resampled, and the words are weighed anew by the pictures
drawn. The words' own answers stay as they are: the concepts are all that there are, not a sample,
and the interval says what other pictures of the same concepts would give. How a sampled written
answer about words would have turned out another time is not in it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.capabilities.schema import AnswerRow, Gap
from benchmarks.capabilities.tasks import Mode
from benchmarks.resampling import CountBootstrap, Drawn, Floats

WordsKind = Literal["blank", "words"]
WORDS_KINDS: tuple[WordsKind, ...] = ("blank", "words")
MODES: tuple[Mode, ...] = ("token", "written")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Unsafe pictures (S), sorted by id, each with the words for its concept.

    By picture, counts over its questions; by words, shares of the answers about its concept.
    """

    groups: tuple[str, ...]
    concepts: tuple[str, ...]
    picture_right: Floats
    picture_answered: Floats
    picture_questions: Floats
    words_right: Floats
    words_answered: Floats

    @classmethod
    def of(cls, pictures: Sequence[AnswerRow], words: Sequence[AnswerRow]) -> "Pairs":
        """Pair the unsafe ones of both by concept."""
        of_concept = _by(words, lambda row: row.concept)
        of_picture = {
            subject: rows
            for subject, rows in sorted(_by(pictures, lambda row: row.subject).items())
            if rows[0].concept in of_concept
        }
        asked = [_Tally.of(rows) for rows in of_picture.values()]
        told = [_Tally.of(of_concept[rows[0].concept]) for rows in of_picture.values()]
        return cls(
            groups=tuple(rows[0].group for rows in of_picture.values()),
            concepts=tuple(rows[0].concept for rows in of_picture.values()),
            picture_right=np.array([tally.right for tally in asked], dtype=np.float64),
            picture_answered=np.array([tally.answered for tally in asked], dtype=np.float64),
            picture_questions=np.array([tally.questions for tally in asked], dtype=np.float64),
            words_right=np.array(
                [tally.right / tally.questions for tally in told], dtype=np.float64
            ),
            words_answered=np.array(
                [tally.answered / tally.questions for tally in told], dtype=np.float64
            ),
        )

    def dropped(self, bootstrap: CountBootstrap) -> Drawn:
        """The gap among what was answered; `bootstrap` is over `groups` or `concepts`."""
        by_words = bootstrap.sum(self.words_right) / bootstrap.sum(self.words_answered)
        by_picture = bootstrap.sum(self.picture_right) / bootstrap.sum(self.picture_answered)
        return by_words - by_picture

    def counted_wrong(self, bootstrap: CountBootstrap) -> Drawn:
        """The gap with "no answer" counted as wrong on both sides."""
        pictures = bootstrap.sum(np.ones_like(self.words_right))
        by_words = bootstrap.sum(self.words_right) / pictures
        by_picture = bootstrap.sum(self.picture_right) / bootstrap.sum(self.picture_questions)
        return by_words - by_picture

    @property
    def contributions(self) -> Floats:
        """What each picture adds to the gap with "no answer" counted as wrong; they sum to it."""
        by_words = self.words_right / self.words_right.size
        by_picture = self.picture_right / self.picture_questions.sum()
        contributions: Floats = by_words - by_picture
        return contributions


def gaps_of(rows: Sequence[AnswerRow], *, seed: int, resamples: int) -> tuple[Gap, ...]:
    """A gap for each mode and way of asking by words, where some concept has both sides."""
    gaps: list[Gap] = []
    for mode in MODES:
        for words in WORDS_KINDS:
            pairs = pairs_of(rows, mode=mode, words=words)
            if not pairs.groups:
                continue
            bootstrap = CountBootstrap(pairs.groups, seed=seed, resamples=resamples)
            gaps.append(
                Gap(
                    mode=mode,
                    words=words,
                    dropped=pairs.dropped(bootstrap).estimate(),
                    counted_wrong=pairs.counted_wrong(bootstrap).estimate(),
                )
            )
    return tuple(gaps)


def pairs_of(rows: Sequence[AnswerRow], *, mode: Mode, words: WordsKind) -> Pairs:
    """The pairs among the rows of a whole measurement; without `groups` when there are none."""
    named = [row for row in rows if row.mode == mode and row.is_unsafe and row.concept]
    return Pairs.of(
        pictures=[row for row in named if row.suite == "alignment" and row.modality == "image"],
        words=[row for row in named if row.suite == "text" and row.modality == words],
    )


@dataclass(frozen=True, slots=True)
class _Tally:
    right: float
    answered: int
    questions: int

    @classmethod
    def of(cls, rows: Sequence[AnswerRow]) -> "_Tally":
        scores = [row.score for row in rows if row.score is not None]
        return cls(right=math.fsum(scores), answered=len(scores), questions=len(rows))


def _by(rows: Sequence[AnswerRow], name: Callable[[AnswerRow], str]) -> dict[str, list[AnswerRow]]:
    found: dict[str, list[AnswerRow]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found
