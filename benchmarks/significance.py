"""Whether a difference between two models is more than chance, for paired answers in groups.

McNemar's test looks at the questions that one of two models gets right and the other wrong, and
asks whether they fall to both sides alike. It takes those questions for independent, which the five
questions about one picture are not. So its unit here is the group: under the null hypothesis the
two models' answers could be swapped in any group, all answers of the group together, and the test
counts how many of all such swaps give a difference at least as large as the one found. With one
question a group that is McNemar's exact test, digit for digit.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.resampling import Drawn

# Fractional scores (a judge's 7 of 10) are rounded to hundredths, so that swaps can be counted.
_STEPS = 100

_SWAPS = 9999


def mcnemar_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of paired differences, one sum a group (exact, by counting all swaps).

    1 where no group differs.
    """
    steps = np.rint(differences * _STEPS).astype(np.int64)
    steps = steps[steps != 0]
    if not steps.size:
        return 1.0
    steps //= np.gcd.reduce(steps)
    sizes = np.abs(steps)
    total = int(sizes.sum())
    # chance[k]: that the groups that fall to one side, each with chance 1/2, add up to k.
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    reached = 0
    for size in sizes.tolist():
        reached += size
        part = 0.5 * chance[: reached + 1]
        part[size:] += 0.5 * chance[: reached + 1 - size]
        chance[: reached + 1] = part
    off_balance = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, math.fsum(chance[off_balance >= abs(int(steps.sum()))].tolist()))


def swap_p(a: NDArray[np.float64], b: NDArray[np.float64], *, seed: int) -> float:
    """Two-sided p-value of the difference in size, ``|sum(b)| - |sum(a)|``, by random swaps.

    `a` and `b` (G) are the parts that groups contribute to a figure of each model. As in
    `mcnemar_p`, the two models are swapped in each group with chance 1/2; the size of a sum is no
    sum, so swaps are drawn, not counted.
    """
    moved = b - a
    drawn = np.random.default_rng(seed).integers(2, size=(_SWAPS, moved.size)) @ moved
    found = abs(float(b.sum())) - abs(float(a.sum()))
    sizes = np.abs(np.abs(b.sum() - drawn) - np.abs(a.sum() + drawn))
    # What is equal but for rounding counts as equal.
    as_large = int((sizes >= abs(found) - 1e-9).sum())
    return (1 + as_large) / (1 + _SWAPS)


def bootstrap_p(difference: Drawn) -> float | None:
    """Two-sided p-value of a difference held against its bootstrap's spread, as pROC tests AUCs.

    Counting draws beyond 0 instead could give no p-value under 2 / draws, too coarse for many
    comparisons. The distribution is Student's t for so many groups: a spread from few groups is
    itself uncertain. None where there is no spread.
    """
    from scipy.special import stdtr  # type: ignore[import-untyped]

    known = difference.draws[~np.isnan(difference.draws)]
    if math.isnan(difference.value) or difference.groups < 2 or known.size < 2:
        return None
    if difference.value == 0.0:
        return 1.0
    deviation = float(np.std(known, ddof=1))
    if deviation == 0.0:
        return None
    return float(2.0 * stdtr(difference.groups - 1, -abs(difference.value) / deviation))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for how many there are (Holm 1979); None, no test, stays out of it.

    Calling significant what is below 0.05 afterwards errs in any of them with at most that chance,
    however they depend on one another.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        corrected[index] = highest
    return corrected
