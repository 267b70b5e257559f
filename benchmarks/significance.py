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


def bootstrap_p(difference: Drawn) -> float | None:
    """Two-sided p-value of a difference that has no exact test, as pROC compares paired AUCs.

    The difference is held against a normal distribution of the bootstrap's spread. Counting draws
    beyond 0 instead could give no p-value under 2 / draws, too coarse for many comparisons. None
    where there is no spread to hold it against.
    """
    known = difference.draws[~np.isnan(difference.draws)]
    if math.isnan(difference.value) or difference.groups < 2 or known.size < 2:
        return None
    if difference.value == 0.0:
        return 1.0
    deviation = float(np.std(known, ddof=1))
    if deviation == 0.0:
        return None
    return math.erfc(abs(difference.value) / deviation / math.sqrt(2.0))


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
