"""Estimates with bootstrap intervals, for whatever is measured on labelled examples.

Whatever can't be computed (an AUC over one class, a mean over nothing) is None, never 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Statistic = Callable[[Indices], float | None]

_LOW_PERCENTILE = 2.5
_HIGH_PERCENTILE = 97.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic and its 95% bootstrap interval; all None where it can't be computed."""

    value: float | None
    low: float | None
    high: float | None


class Bootstrap:
    """Resamples examples for 95% intervals, the same draws for every statistic.

    `groups` has one label an example; examples of one group (near-duplicates) are drawn together,
    since counting them as independent would make every interval too narrow. Deterministic in
    `seed`.
    """

    def __init__(self, groups: Sequence[str], *, seed: int, resamples: int) -> None:
        members: dict[str, list[int]] = {}
        for index, group in enumerate(groups):
            members.setdefault(group, []).append(index)
        units = [np.array(indices, dtype=np.intp) for indices in members.values()]
        random = np.random.default_rng(seed)
        self._everything = np.arange(len(groups), dtype=np.intp)
        self._draws = [
            np.concatenate([units[unit] for unit in random.integers(len(units), size=len(units))])
            for _ in range(resamples if units else 0)
        ]

    def estimate(self, statistic: Statistic) -> Estimate:
        """`statistic` of all examples, and the interval of its values over the draws.

        Draws for which it can't be computed (say, one without a safe example) are left out.
        """
        value = statistic(self._everything)
        drawn = [found for draw in self._draws if (found := statistic(draw)) is not None]
        if value is None or not drawn:
            return Estimate(value=value, low=None, high=None)
        low, high = np.percentile(drawn, [_LOW_PERCENTILE, _HIGH_PERCENTILE])
        return Estimate(value=value, low=float(low), high=float(high))
