"""The numbers behind every benchmark: estimates with bootstrap intervals, percentiles, spreads.

Whatever can't be computed (an AUC over one class, a mean over nothing) is None, never 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignment.bootstrap import Bootstrap, Estimate, Indices, Statistic

__all__ = [
    "Bootstrap",
    "Estimate",
    "Indices",
    "Percentiles",
    "Spread",
    "Statistic",
    "auc",
    "average_precision",
    "balanced_top1",
    "difference",
    "false_positive_rate",
    "percentiles",
    "recalls",
    "share",
    "spread",
]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `count` measurements, in the unit they were given in."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of repeated measurements."""

    median: float
    low: float
    high: float


def auc(is_unsafe: NDArray[np.bool_], p_unsafe: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve of `p_unsafe` over the examples that have one (not NaN)."""
    # Mann and Whitney's U, many times quicker than a curve: it is computed for every draw.
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    answered = ~np.isnan(p_unsafe)
    labels = is_unsafe[answered]
    unsafe, safe = int(labels.sum()), int((~labels).sum())
    if not unsafe or not safe:
        return None
    ranks = rankdata(p_unsafe[answered])[labels].sum()
    return float((ranks - unsafe * (unsafe + 1) / 2) / (unsafe * safe))


def average_precision(is_unsafe: NDArray[np.bool_], p_unsafe: NDArray[np.float64]) -> float | None:
    """Area under precision over recall, as a sum of steps; examples without a score are left out.

    None without an unsafe example. Equal scores are one step.
    """
    answered = ~np.isnan(p_unsafe)
    labels, scores = is_unsafe[answered], p_unsafe[answered]
    if not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last_of_tie = np.append(np.diff(scores) != 0, True)
    found = np.cumsum(labels)[last_of_tie]
    called = np.flatnonzero(last_of_tie) + 1
    gained = np.diff(found, prepend=0)
    return float((gained * found / called).sum() / found[-1])


def false_positive_rate(
    is_unsafe: NDArray[np.bool_], p_unsafe: NDArray[np.float64], *, at_recall: float
) -> float | None:
    """The share of safe examples called unsafe by the highest threshold that reaches a recall.

    None unless both labels occur among the examples that have a score.
    """
    answered = ~np.isnan(p_unsafe)
    labels, scores = is_unsafe[answered], p_unsafe[answered]
    unsafe = np.sort(scores[labels])[::-1]
    if not unsafe.size or labels.all():
        return None
    # Rounded first: .95 of 20 is 19, and 19.000000000000004 as a float is not.
    wanted = math.ceil(round(at_recall * unsafe.size, 9))
    return float((scores[~labels] >= unsafe[max(1, wanted) - 1]).mean())


def share(hits: NDArray[np.bool_]) -> float | None:
    """The share of true values; None of an empty array."""
    return float(hits.mean()) if hits.size else None


def difference(minuend: float | None, subtrahend: float | None) -> float | None:
    """``minuend - subtrahend``; None unless both are known."""
    return None if minuend is None or subtrahend is None else minuend - subtrahend


def recalls(truth: Sequence[str], predicted: Sequence[str | None]) -> dict[str, float]:
    """For each class that occurs in `truth`, the share of its examples predicted as it."""
    hits: dict[str, list[bool]] = {}
    for true, found in zip(truth, predicted, strict=True):
        hits.setdefault(true, []).append(found == true)
    return {name: sum(found) / len(found) for name, found in sorted(hits.items())}


def balanced_top1(truth: Sequence[str], predicted: Sequence[str | None]) -> float | None:
    """The mean of `recalls`: every class that occurs counts the same."""
    by_class = recalls(truth, predicted)
    return math.fsum(by_class.values()) / len(by_class) if by_class else None


def percentiles(measurements: Sequence[float]) -> Percentiles | None:
    """Percentiles of `measurements`; None without any."""
    if not measurements:
        return None
    p50, p90, p95, p99 = (float(p) for p in np.percentile(measurements, [50, 90, 95, 99]))
    return Percentiles(len(measurements), p50, p90, p95, p99, max(measurements))


def spread(measurements: Sequence[float]) -> Spread:
    """Median and range; raises `ValueError` without measurements."""
    if not measurements:
        raise ValueError("no measurements to spread")
    return Spread(float(np.median(measurements)), min(measurements), max(measurements))
