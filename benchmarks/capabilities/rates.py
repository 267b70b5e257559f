"""How often answers are right: one suite in one mode and modality, with its breakdowns.

S1 drops "no answer" when it measures capabilities and counts it as wrong when it compares
trainings. Both are computed and named; an answer that an engine failed to give is "no answer" too.

What is resampled for intervals is the group: the questions about one picture and its
near-duplicates for pictures, the concept for words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.capabilities.calibration import calibration_of
from benchmarks.capabilities.schema import AnswerRow, Rate, SuiteFigures
from benchmarks.resampling import CountBootstrap, Drawn, Floats, Mask

SAFE_CATEGORY = "Safe"


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows as arrays (N): `right` is the score, 0 for no answer; `answered` is 1 or 0."""

    right: Floats
    answered: Floats

    @classmethod
    def of(cls, rows: Sequence[AnswerRow]) -> "Scores":
        """The rows' scores; a row without a score is "no answer"."""
        return cls(
            right=np.array([row.score or 0.0 for row in rows], dtype=np.float64),
            answered=np.array([row.score is not None for row in rows], dtype=np.float64),
        )

    def dropped(self, bootstrap: CountBootstrap, among: Mask) -> Drawn:
        """Right among those of `among` that answered."""
        return bootstrap.sum(self.right * among) / bootstrap.sum(self.answered * among)

    def counted_wrong(self, bootstrap: CountBootstrap, among: Mask) -> Drawn:
        """Right among all of `among`."""
        return bootstrap.sum(self.right * among) / bootstrap.sum(among)

    def no_answer_rate(self, bootstrap: CountBootstrap, among: Mask) -> Drawn:
        """Without an answer among all of `among`."""
        return bootstrap.sum((1.0 - self.answered) * among) / bootstrap.sum(among)

    def rate(self, bootstrap: CountBootstrap, among: Mask) -> Rate:
        """All of it over the rows of `among`."""
        return Rate(
            answers=int(among.sum()),
            no_answers=int(((1.0 - self.answered) * among).sum()),
            dropped=self.dropped(bootstrap, among).share(),
            counted_wrong=self.counted_wrong(bootstrap, among).share(),
            no_answer_rate=self.no_answer_rate(bootstrap, among).share(),
        )


def suite_figures(rows: Sequence[AnswerRow], *, seed: int, resamples: int) -> SuiteFigures:
    """The figures of rows that share suite, mode and modality; raises `ValueError` without any.

    `by_category` has unsafe subjects under their category and all safe ones under ``Safe``;
    `by_concept` has unsafe ones; `by_question` has both. Subjects whose category or concept is
    unknown are in no breakdown by it.
    """
    if not rows:
        raise ValueError("a suite without answers has no figures")
    bootstrap = CountBootstrap([row.group for row in rows], seed=seed, resamples=resamples)
    scores = Scores.of(rows)

    def breakdown(name: Callable[[AnswerRow], str]) -> dict[str, Rate]:
        names = np.array([name(row) for row in rows], dtype=np.str_)
        return {
            str(found): scores.rate(bootstrap, names == found)
            for found in np.unique(names)
            if found
        }

    unsafe = np.array([row.is_unsafe for row in rows], dtype=np.bool_)
    first = rows[0]
    return SuiteFigures(
        suite=first.suite,
        mode=first.mode,
        modality=first.modality,
        overall=scores.rate(bootstrap, np.ones_like(unsafe)),
        unsafe=scores.rate(bootstrap, unsafe) if unsafe.any() else None,
        safe=scores.rate(bootstrap, ~unsafe) if not unsafe.all() else None,
        by_category=breakdown(lambda row: row.category if row.is_unsafe else SAFE_CATEGORY),
        by_concept=breakdown(lambda row: row.concept if row.is_unsafe else ""),
        by_question=breakdown(lambda row: row.question),
        calibration=calibration_of(rows, bootstrap) if first.mode == "token" else None,
    )
