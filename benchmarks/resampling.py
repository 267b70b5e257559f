"""The bootstrap for many statistics of many rows: sums of groups, and how often each is drawn.

`benchmarks.stats.Bootstrap` calls a function for every statistic and draw. Most figures are ratios
of sums, and a sum over drawn groups is one product of a matrix of counts with the groups' own sums.
Thousands of figures then take seconds. The draws are the same as `Bootstrap`'s for the same groups
and seed, so both give the same intervals.

Shapes: N rows, G groups, R draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import Estimate

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LOW_PERCENTILE = 2.5
_HIGH_PERCENTILE = 97.5
_TAIL = 0.025

# Values are rounded to multiples of this power of two, so that sums of them are exact whatever
# order a matrix product adds in: the same rows give the same figures, byte by byte. 0, 1 and halves
# stay as they are; a judge's 1/3 moves by less than 1e-9.
_GRAIN = 2.0**-30

_DRAWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Drawn:
    """A statistic of all rows and of every draw (R); NaN where it can't be computed.

    `groups` counts the groups that bear on it.
    """

    value: float
    draws: Floats
    groups: int

    def __sub__(self, other: "Drawn") -> "Drawn":
        return Drawn(
            self.value - other.value,
            self.draws - other.draws,
            min(self.groups, other.groups),
        )

    def __truediv__(self, other: "Drawn") -> "Drawn":
        """The ratio; it rests on the groups of the divisor, and is NaN where that is 0."""
        whole = np.where(other.draws == 0.0, np.nan, other.draws)
        return Drawn(
            self.value / other.value if other.value else math.nan,
            self.draws / whole,
            other.groups,
        )

    def __abs__(self) -> "Drawn":
        return Drawn(abs(self.value), np.abs(self.draws), self.groups)

    def estimate(self) -> Estimate:
        """The value with its 95% percentile interval; draws without a value are left out.

        There is no interval from a single group: every draw repeats it, which says nothing about
        other groups.
        """
        known = self.draws[~np.isnan(self.draws)]
        if math.isnan(self.value):
            return Estimate(None, None, None)
        if self.groups < 2 or not known.size:
            return Estimate(self.value, None, None)
        low, high = np.percentile(known, [_LOW_PERCENTILE, _HIGH_PERCENTILE])
        return Estimate(self.value, float(low), float(high))

    def share(self) -> Estimate:
        """As `estimate`, for a share in [0, 1].

        Where every group gives 0, or every group 1, all draws are equal and the bootstrap's
        interval would have no width. Then the exact (Clopper-Pearson) bound for so many groups
        takes its place: a share p that shows itself in none of n groups has (1 - p)^n >= 0.025.
        An AUC is a share of pairs, and the bound holds for it with the groups of the rarer label.
        """
        if self.value in (0.0, 1.0) and self.groups:
            reach = 1.0 - _TAIL ** (1.0 / self.groups)
            low, high = (0.0, reach) if self.value == 0.0 else (1.0 - reach, 1.0)
            return Estimate(self.value, low, high)
        return self.estimate()


class CountBootstrap:
    """Resamples groups and keeps how often each was drawn; deterministic in `seed`.

    `groups` has one label a row. Rows of one group (near-duplicates, the questions about one
    picture) are drawn together, since they are not independent.
    """

    def __init__(self, groups: Sequence[str], *, seed: int, resamples: int) -> None:
        numbers: dict[str, int] = {}
        self._group = np.array(
            [numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp
        )
        self.groups = len(numbers)
        random = np.random.default_rng(seed)
        self._times = np.zeros((self.groups, resamples), dtype=np.float64)
        for draw in range(resamples if self.groups else 0):
            drawn = random.integers(self.groups, size=self.groups)
            self._times[:, draw] = np.bincount(drawn, minlength=self.groups)

    def by_group(self, values: NDArray[np.float64] | Mask) -> Floats:
        """The sum of `values` in every group (G), in the order groups first occur."""
        exact = np.round(np.asarray(values, dtype=np.float64) / _GRAIN) * _GRAIN
        return np.bincount(self._group, weights=exact, minlength=self.groups).astype(np.float64)

    def sum(self, values: NDArray[np.float64] | Mask) -> Drawn:
        """The sum of `values`; it rests on the groups where it is not 0."""
        sums = self.by_group(values)
        touched = np.flatnonzero(sums)
        if 2 * touched.size < self.groups:  # Copying few rows beats adding many zeros.
            draws = sums[touched] @ self._times[touched]
        else:
            draws = sums @ self._times
        return Drawn(float(sums.sum()), draws, int(touched.size))

    def auc(self, is_unsafe: Mask, p_unsafe: Floats) -> Drawn:
        """Area under the ROC curve of `p_unsafe` over the rows that have one (not NaN).

        A tie counts half. NaN with one label alone; it rests on the groups of the rarer label.
        """
        rows = np.flatnonzero(~np.isnan(p_unsafe))
        rows = rows[np.argsort(p_unsafe[rows], kind="stable")]
        labels, group = is_unsafe[rows], self._group[rows]
        resamples = self._times.shape[1]
        if not rows.size or labels.all() or not labels.any():
            return Drawn(math.nan, np.full(resamples, np.nan), 0)
        starts = np.flatnonzero(np.diff(p_unsafe[rows], prepend=-np.inf))
        areas = [
            _areas(self._times[group, first : first + _DRAWS_AT_ONCE], labels, starts)
            for first in range(0, resamples, _DRAWS_AT_ONCE)
        ]
        return Drawn(
            float(_areas(np.ones((rows.size, 1)), labels, starts)[0]),
            np.concatenate([np.empty(0), *areas]),
            min(np.unique(group[labels]).size, np.unique(group[~labels]).size),
        )


def _areas(times: Floats, labels: Mask, tie_starts: NDArray[np.intp]) -> Floats:
    """The AUC of each draw; rows are sorted by score, `tie_starts` has each new score's first."""
    unsafe = np.add.reduceat(times * labels[:, None], tie_starts, axis=0)
    safe = np.add.reduceat(times * ~labels[:, None], tie_starts, axis=0)
    below = np.cumsum(safe, axis=0) - safe / 2.0
    pairs = unsafe.sum(axis=0) * safe.sum(axis=0)
    ordered = (unsafe * below).sum(axis=0)
    areas: Floats = ordered / np.where(pairs == 0.0, np.nan, pairs)
    return areas
