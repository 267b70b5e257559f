"""What has to hold during a fault, and what was found: held, missed, or not known.

A goal whose figure could not be measured is not held: it counts as missed wherever that decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["held", "missed", "not run"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing that must hold; `got` is None where it could not be measured."""

    name: str
    wanted: str
    got: float | None
    unit: str
    is_held: bool


def at_most(name: str, got: float | None, limit: float, unit: str = "") -> Goal:
    """`got` must not be above `limit`."""
    return Goal(name, f"at most {limit:g}", got, unit, got is not None and got <= limit)


def at_least(name: str, got: float | None, limit: float, unit: str = "") -> Goal:
    """`got` must not be below `limit`."""
    return Goal(name, f"at least {limit:g}", got, unit, got is not None and got >= limit)


def none_of(name: str, got: int) -> Goal:
    """It must not have happened once."""
    return Goal(name, "0", got, "", got == 0)


def holds(name: str, is_held: bool, *, wanted: str = "yes") -> Goal:
    """It must be so."""
    return Goal(name, wanted, float(is_held), "", is_held)


@dataclass(frozen=True, slots=True)
class FaultReport:
    """What one fault came to. `figures` are measured beside the goals; `note` is for people.

    `not_run` says why nothing was done; then there are no goals.
    """

    fault: str
    title: str
    goals: Sequence[Goal] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    engine: str = "real"
    seconds: float = 0.0
    not_run: str | None = None

    @property
    def verdict(self) -> Verdict:
        """Missed if any goal is."""
        if self.not_run is not None:
            return "not run"
        return "held" if self.goals and all(goal.is_held for goal in self.goals) else "missed"
