"""Differences of rates, AUCs and gaps between two models' answers to the same questions.

Each has a 95% interval from a bootstrap that draws the same groups for both models. Rates are
tested with McNemar's exact test over groups (`benchmarks.significance`), "no answer" counting as
wrong; with it dropped the two models have answered different questions, so that difference has an
interval and no test. An AUC's difference is held against the bootstrap's spread.

Gaps are drawn and tested by concept, pictures and words together. A gap's own interval takes the
words' answers for given; between two models they differ by chance as well, and an interval from
pictures alone would call equal models different several times too often.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from benchmarks.capabilities.calibration import labels_and_scores
from benchmarks.capabilities.gaps import WORDS_KINDS, pairs_of
from benchmarks.capabilities.rates import Scores
from benchmarks.capabilities.schema import AnswerRow
from benchmarks.capabilities.tasks import Modality, Mode, Suite
from benchmarks.comparison import Among, Difference, Paired
from benchmarks.resampling import CountBootstrap, Drawn, Mask
from benchmarks.significance import bootstrap_p, mcnemar_p, swap_p

_SUITES: tuple[Suite, ...] = get_args(Suite)
_MODES: tuple[Mode, ...] = get_args(Mode)
_MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True)
class _Part:
    """Which rows a difference is over."""

    suite: Suite
    mode: Mode
    modality: Modality
    benchmark: str

    @classmethod
    def of(cls, row: AnswerRow) -> "_Part":
        # A benchmark of general ability is one figure, even where some questions have no picture.
        modality: Modality = "image" if row.suite == "general" else row.modality
        return cls(row.suite, row.mode, modality, row.benchmark)

    @property
    def place(self) -> tuple[int, str, int, int]:
        return (
            _SUITES.index(self.suite),
            self.benchmark,
            _MODES.index(self.mode),
            _MODALITIES.index(self.modality),
        )


def differences_of(
    a: Sequence[AnswerRow], b: Sequence[AnswerRow], *, seed: int, resamples: int
) -> list[Difference]:
    """Every difference of two equally long lists of answers to the same tasks, sorted by task."""
    differences: list[Difference] = []
    for part in sorted({_Part.of(row) for row in a}, key=lambda part: part.place):
        of_a = [row for row in a if _Part.of(row) == part]
        of_b = [row for row in b if _Part.of(row) == part]
        bootstrap = CountBootstrap([row.group for row in of_a], seed=seed, resamples=resamples)
        differences += _rates(part, of_a, of_b, bootstrap)
        differences += _aucs(part, of_a, of_b, bootstrap)
    return differences + _gaps(a, b, seed=seed, resamples=resamples)


def _rates(
    part: _Part, a: Sequence[AnswerRow], b: Sequence[AnswerRow], bootstrap: CountBootstrap
) -> list[Difference]:
    """Over all subjects and, where both labels occur, over each: one may win what the other loses.

    A model that calls everything unsafe gains on the unsafe ones what it loses on the safe ones.
    """
    unsafe = np.array([row.is_unsafe for row in a], dtype=np.bool_)
    among: dict[Among, Mask] = {"all": np.ones_like(unsafe)}
    if part.suite != "general" and unsafe.any() and not unsafe.all():
        among |= {"unsafe": unsafe, "safe": ~unsafe}
    of_a, of_b = Scores.of(a), Scores.of(b)
    gained = of_b.right - of_a.right
    return [
        Difference(
            measure="right answers",
            suite=part.suite,
            mode=part.mode,
            modality=part.modality,
            among=name,
            benchmark=part.benchmark,
            tasks=int(mask.sum()),
            groups=bootstrap.sum(mask).groups,
            counted_wrong=_paired(
                of_a.counted_wrong(bootstrap, mask), of_b.counted_wrong(bootstrap, mask)
            ),
            dropped=_paired(of_a.dropped(bootstrap, mask), of_b.dropped(bootstrap, mask)),
            only_a_right=int((mask & (gained < 0)).sum()),
            only_b_right=int((mask & (gained > 0)).sum()),
            p=mcnemar_p(bootstrap.by_group(gained * mask)),
        )
        for name, mask in among.items()
    ]


def _aucs(
    part: _Part, a: Sequence[AnswerRow], b: Sequence[AnswerRow], bootstrap: CountBootstrap
) -> list[Difference]:
    """Over the judged questions to which both gave a P(unsafe); empty unless both labels occur."""
    if part.mode != "token":
        return []
    is_unsafe, of_a = labels_and_scores(a)
    _, of_b = labels_and_scores(b)
    neither = np.isnan(of_a) | np.isnan(of_b)
    drawn_a = bootstrap.auc(is_unsafe, np.where(neither, np.nan, of_a))
    drawn_b = bootstrap.auc(is_unsafe, np.where(neither, np.nan, of_b))
    if np.isnan(drawn_a.value):
        return []
    return [
        Difference(
            measure="AUC of P(unsafe)",
            suite=part.suite,
            mode=part.mode,
            modality=part.modality,
            among="all",
            benchmark=part.benchmark,
            tasks=int((~neither).sum()),
            groups=bootstrap.sum(~neither).groups,
            counted_wrong=_paired(drawn_a, drawn_b),
            dropped=None,
            only_a_right=None,
            only_b_right=None,
            p=bootstrap_p(drawn_b - drawn_a),
        )
    ]


def _gaps(
    a: Sequence[AnswerRow], b: Sequence[AnswerRow], *, seed: int, resamples: int
) -> list[Difference]:
    differences: list[Difference] = []
    for mode in _MODES:
        for words in WORDS_KINDS:
            of_a, of_b = (pairs_of(rows, mode=mode, words=words) for rows in (a, b))
            if not of_a.concepts:
                continue
            by_concept = CountBootstrap(of_a.concepts, seed=seed, resamples=resamples)
            differences.append(
                Difference(
                    measure="modality gap",
                    suite="alignment",
                    mode=mode,
                    modality=words,
                    among="unsafe",
                    benchmark="",
                    tasks=len(of_a.concepts),
                    groups=by_concept.groups,
                    counted_wrong=_paired_size(
                        of_a.counted_wrong(by_concept), of_b.counted_wrong(by_concept)
                    ),
                    dropped=_paired_size(of_a.dropped(by_concept), of_b.dropped(by_concept)),
                    only_a_right=None,
                    only_b_right=None,
                    p=swap_p(
                        by_concept.by_group(of_a.contributions),
                        by_concept.by_group(of_b.contributions),
                        seed=seed,
                    ),
                )
            )
    return differences


def _paired(a: Drawn, b: Drawn) -> Paired:
    return Paired(a.estimate().value, b.estimate().value, (b - a).estimate())


def _paired_size(a: Drawn, b: Drawn) -> Paired:
    """As `_paired`, with the difference of absolute values."""
    return Paired(a.estimate().value, b.estimate().value, (abs(b) - abs(a)).estimate())
