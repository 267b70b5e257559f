"""The highest rate that a service takes: bracket it, halve the bracket, confirm what is left.

A rate is tried in an open loop and holds or does not. From the first rate up it is doubled until
one fails (or down until one holds), then the bracket is halved by its geometric mean until its ends
are close. A rate that held once may have been lucky, so the answer must hold again; if it fails,
the search goes on below it.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.stats import Percentiles


@dataclass(frozen=True, slots=True)
class CapacityLimits:
    """What a rate must keep to hold: p95 of what was answered, and the share that was not."""

    p95_ms: float = 1000.0
    unanswered_share: float = 0.01


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate, tried once. `refused_share` is of requests; `failed_share`, of those in error or
    cancelled. `latency_ms` is of answers, from when they were due; None without one."""

    rate_per_s: float
    requests: int
    offered_per_s: float
    throughput_per_s: float
    goodput_per_s: float
    refused_share: float
    failed_share: float
    latency_ms: Percentiles | None

    def holds(self, limits: CapacityLimits) -> bool:
        """Whether it kept within the limits; without an answer it did not."""
        return (
            self.latency_ms is not None
            and self.latency_ms.p95 <= limits.p95_ms
            and self.refused_share + self.failed_share <= limits.unanswered_share
        )


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Where to begin, how close the bracket's ends must come, and how often the answer must hold.

    `precision` .1 ends the search where the failing rate is at most a tenth above the one that
    holds. `trials` bounds it all.
    """

    start_per_s: float = 4.0
    lowest_per_s: float = 0.1
    highest_per_s: float = 2000.0
    precision: float = 0.1
    confirmations: int = 2
    trials: int = 30


@dataclass(frozen=True, slots=True)
class Capacity:
    """`rate_per_s` held, and held again as often as was asked for if `is_confirmed`; None where no
    rate did. `fails_per_s` is the lowest rate above it that failed, None where none did.
    """

    rate_per_s: float | None
    fails_per_s: float | None
    is_confirmed: bool
    trials: tuple[Trial, ...]


async def search_capacity(
    attempt: Callable[[float], Awaitable[Trial]], plan: SearchPlan, limits: CapacityLimits
) -> Capacity:
    """Try rates until the answer is found, or the plan's trials are used up."""
    search = _Search(plan)
    trials: list[Trial] = []
    while len(trials) < plan.trials and (rate := search.next_rate()) is not None:
        trial = await attempt(rate)
        trials.append(trial)
        search.learn(rate, holds=trial.holds(limits))
    return Capacity(
        search.held,
        search.failed,
        search.held is not None and search.confirmed >= plan.confirmations,
        tuple(trials),
    )


class _Search:
    """What is known so far: the highest rate that holds, the lowest that fails."""

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        self.held: float | None = None
        self.failed: float | None = None
        self.confirmed = 0
        self._down = 2.0

    def next_rate(self) -> float | None:
        """The next rate to try; None where the search is over."""
        plan = self._plan
        if self.held is None:
            if self.failed is None:
                return plan.start_per_s
            lower = self.failed / self._down
            return lower if lower >= plan.lowest_per_s else None
        if self.failed is None:
            # The last rate that may be tried is confirmed too.
            if self.held < plan.highest_per_s:
                return min(self.held * 2, plan.highest_per_s)
        elif self.failed / self.held > 1 + plan.precision:
            return math.sqrt(self.failed * self.held)
        return self.held if self.confirmed < plan.confirmations else None

    def learn(self, rate: float, *, holds: bool) -> None:
        """What a trial showed."""
        if rate == self.held:
            if holds:
                self.confirmed += 1
                return
            # It was luck. What surely holds is not known: go down, in steps that grow.
            self.failed, self.held, self.confirmed = rate, None, 0
            self._down = 1 + 2 * self._plan.precision
            return
        if holds:
            self.held, self.confirmed = rate, 0
        else:
            if self.held is None and self.failed is not None:
                self._down = min(2.0, self._down**2)
            self.failed = rate
