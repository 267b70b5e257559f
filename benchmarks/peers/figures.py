"""From turns to figures: what a contender did in each round, and medians with their spread."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.stats import spread


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender in one round.

    `p50_ms` and `p95_ms` are of one picture at a time. `cpu_ms` is what all its processes used a
    picture under load, `client_cpu_ms` what the client's process did.
    """

    images_per_s: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    client_cpu_ms: float
    loaded_p50_ms: float | None = None
    loaded_p95_ms: float | None = None


Round = Mapping[str, Measured]
"""By the contender's name; who did not run is not in it."""


@dataclass(frozen=True, slots=True)
class HostFigures:
    """Of a host: seconds from its start to its first answer, and the most memory that it had."""

    start_s: float
    memory_mib: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Of latencies in ms."""
    return float(np.percentile(values, percent))


def contender_figures(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    """The spread of each of a contender's measurements; empty where it did not run."""
    mine = [one[name] for one in rounds if name in one]
    if not mine:
        return {}
    found: dict[str, Any] = {}
    for field in Measured.__dataclass_fields__:
        values = [value for one in mine if (value := getattr(one, field)) is not None]
        found[field] = asdict(spread(values)) if values else None
    return found


def over_rounds(rounds: Sequence[Round], of: Callable[[Round], float | None]) -> float | None:
    """The median of what is worked out within each round; None where no round has it."""
    values = [value for one in rounds if (value := of(one)) is not None]
    return statistics.median(values) if values else None


def ratio(one: Round, name: str, *others: str) -> float | None:
    """How many times as fast as the fastest of the others; None unless both ran."""
    theirs = [one[other].images_per_s for other in others if other in one]
    if name not in one or not theirs:
        return None
    return one[name].images_per_s / max(theirs)


def without_client(one: Round, name: str, nothing: str, *, cores: int) -> float | None:
    """Images a second if the client were elsewhere; None unless both ran.

    On a machine that is busy on all its cores, a client that uses c processor seconds a picture
    takes c / cores of the clock from the service. It is measured on an endpoint that does nothing.
    """
    if name not in one or nothing not in one:
        return None
    seconds = 1.0 / one[name].images_per_s
    return 1.0 / (seconds - one[nothing].client_cpu_ms / 1000 / cores)
