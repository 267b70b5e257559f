"""What the answers of a replay are worth, over the requests that were answered.

A request that was refused, broken or given up says nothing about the model; it is counted beside.
An answer that could not tell (`undetermined`) counts as not right for either label, and has no
part in what is computed from P(unsafe). Passes over the same picture, and near-duplicates, are
drawn together in every interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignment.calibration.scoring import brier, equal_width_bins
from benchmarks.replay.rows import Row
from benchmarks.resampling import CountBootstrap
from benchmarks.served_figures import Answers
from benchmarks.stats import (
    Bootstrap,
    Estimate,
    Indices,
    average_precision,
    false_positive_rate,
    share,
)
from server.concepts.endpoint_keys import keys_of
from server.concepts.taxonomy import load_taxonomy

RECALL = 0.95
"""At which the share of safe pictures called unsafe is told."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers whose P(unsafe) lies from `low` to `high`: how many, its mean, and how many hit."""

    low: float
    high: float
    count: int
    mean_p_unsafe: float
    share_unsafe: float


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """Unsafe pictures of one category.

    `recall` is the share judged unsafe, `auc` that of P(unsafe) against all safe pictures,
    `own_auc` that of the category's own score against every other picture, unsafe ones too.
    """

    answers: int
    recall: Estimate
    auc: Estimate
    own_auc: Estimate


@dataclass(frozen=True, slots=True)
class ConceptFigures:
    """Pictures of one concept: the share judged unsafe, the mean of P(unsafe), and the share that
    was recognised as it (None where nothing is recognised)."""

    category: str
    answers: int
    judged_unsafe: float | None
    mean_p_unsafe: float | None
    recognised: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All figures; `requests` less `answers` were refused, broken or given up."""

    requests: int
    answers: int
    unsafe_answers: int
    auc: Estimate
    auprc: Estimate
    balanced_accuracy: Estimate
    recall: Estimate
    specificity: Estimate
    fpr_at_95_recall: Estimate
    ece: Estimate
    brier: Estimate
    no_answer_rate: Estimate
    reliability: tuple[ReliabilityBin, ...]
    by_category: Mapping[str, CategoryFigures]
    by_concept: Mapping[str, ConceptFigures]


def answers_of(rows: Sequence[Row]) -> Answers:
    """Labels and answers of `rows` as arrays."""
    return Answers(
        is_unsafe=np.array([row.unsafe for row in rows], dtype=np.bool_),
        p_unsafe=np.array(
            [np.nan if row.p_unsafe is None else row.p_unsafe for row in rows], dtype=np.float64
        ),
        outcome=np.array([row.verdict for row in rows], dtype=np.str_),
        failed=sum(row.end != "ok" for row in rows),
    )


def accuracy_of(rows: Sequence[Row], *, seed: int, resamples: int) -> Accuracy:
    """All figures of a replay."""
    answered = [row for row in rows if row.end == "ok"]
    answers = answers_of(answered)
    bootstrap = Bootstrap([row.group for row in answered], seed=seed, resamples=resamples)
    return Accuracy(
        requests=len(rows),
        answers=len(answered),
        unsafe_answers=int(answers.is_unsafe.sum()),
        **{name: bootstrap.estimate(statistic) for name, statistic in statistics(answers).items()},
        reliability=_reliability(answers),
        by_category=_by_category(answered, answers, seed=seed, resamples=resamples),
        by_concept=_by_concept(answered),
    )


def statistics(answers: Answers) -> dict[str, "_Statistic"]:
    """The overall figures by name, each of the answers drawn."""
    return {
        name: _Statistic(answers, name)
        for name in (
            "auc",
            "auprc",
            "balanced_accuracy",
            "recall",
            "specificity",
            "fpr_at_95_recall",
            "ece",
            "brier",
            "no_answer_rate",
        )
    }


@dataclass(frozen=True, slots=True)
class _Statistic:
    """One figure as the bootstrap wants it."""

    answers: Answers
    name: str

    def __call__(self, drawn: Indices) -> float | None:
        answers = self.answers
        is_unsafe, p_unsafe = answers.is_unsafe[drawn], answers.p_unsafe[drawn]
        if self.name == "auprc":
            return average_precision(is_unsafe, p_unsafe)
        if self.name == "fpr_at_95_recall":
            return false_positive_rate(is_unsafe, p_unsafe, at_recall=RECALL)
        if self.name == "brier":
            known = ~np.isnan(p_unsafe)
            return brier(is_unsafe[known], p_unsafe[known])
        if self.name == "recall":
            return answers.alignment(drawn)
        found: float | None = getattr(answers, self.name)(drawn)
        return found


def _reliability(answers: Answers) -> tuple[ReliabilityBin, ...]:
    known = ~np.isnan(answers.p_unsafe)
    return tuple(
        ReliabilityBin(one.low, one.high, one.count, one.mean_p, one.share)
        for one in equal_width_bins(answers.is_unsafe[known], answers.p_unsafe[known], bins=10)
    )


def _by_category(
    rows: Sequence[Row], answers: Answers, *, seed: int, resamples: int
) -> dict[str, CategoryFigures]:
    bootstrap = CountBootstrap([row.group for row in rows], seed=seed, resamples=resamples)
    judged_unsafe = answers.outcome == "unsafe"
    found = {}
    for name in load_taxonomy().category_names:
        inside = np.array([row.unsafe and row.category == name for row in rows], dtype=np.bool_)
        if not inside.any():
            continue
        own = np.array([_own_score(row, name) for row in rows], dtype=np.float64)
        beside = ~inside & answers.is_unsafe
        found[name] = CategoryFigures(
            answers=int(inside.sum()),
            recall=(bootstrap.sum(inside & judged_unsafe) / bootstrap.sum(inside)).share(),
            auc=bootstrap.auc(inside, np.where(beside, np.nan, answers.p_unsafe)).share(),
            own_auc=bootstrap.auc(inside, own).share(),
        )
    return found


def _own_score(row: Row, category: str) -> float:
    """The category's own score; of a contract's keys the highest that speaks for it."""
    if category in row.scores:
        return row.scores[category]
    return max(
        (row.scores[key] for key in keys_of(category) if key in row.scores), default=math.nan
    )


def _by_concept(rows: Sequence[Row]) -> dict[str, ConceptFigures]:
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        if row.unsafe and row.concept:
            by_name.setdefault(row.concept, []).append(row)
    found = {}
    for name, inside in sorted(by_name.items()):
        seen = [row.seen_concept for row in inside if row.seen_concept is not None]
        scores = [row.p_unsafe for row in inside if row.p_unsafe is not None]
        found[name] = ConceptFigures(
            category=inside[0].category,
            answers=len(inside),
            judged_unsafe=share(_mask([row.verdict == "unsafe" for row in inside])),
            mean_p_unsafe=math.fsum(scores) / len(scores) if scores else None,
            recognised=share(_mask([one == name for one in seen])),
        )
    return found


def _mask(values: Sequence[bool]) -> NDArray[np.bool_]:
    return np.array(values, dtype=np.bool_)
