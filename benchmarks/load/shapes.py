"""How many users there are over time: steady, ramp, spike, soak. Pure, so that they can be tested.

`users` is the most there are, `seconds` the whole run.
"""

from collections.abc import Callable
from dataclasses import dataclass

SPIKE_BASE_SHARE = 0.1
_SPIKE_BEGINS, _SPIKE_ENDS = 0.4, 0.6
_RAMP_STEPS = 10
_SOAK_SHARE = 0.6
_SOAK_RISE = 0.05


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many users, and how many may come or go in a second."""

    users: int
    per_s: float


Shape = Callable[[float, int, float], Crowd | None]


def steady(at_s: float, users: int, seconds: float) -> Crowd | None:
    """All of them from the start to the end; None once it is over, as in all shapes."""
    return Crowd(users, float(users)) if at_s < seconds else None


def ramp(at_s: float, users: int, seconds: float) -> Crowd | None:
    """A tenth more in every tenth of the time: where latency turns up is where capacity ends."""
    if at_s >= seconds:
        return None
    step = min(_RAMP_STEPS, int(at_s / seconds * _RAMP_STEPS) + 1)
    return Crowd(max(1, round(users * step / _RAMP_STEPS)), float(users))


def spike(at_s: float, users: int, seconds: float) -> Crowd | None:
    """A tenth of them, all at once in the middle fifth, and a tenth again: is it over after?"""
    if at_s >= seconds:
        return None
    is_high = _SPIKE_BEGINS <= at_s / seconds < _SPIKE_ENDS
    count = users if is_high else max(1, round(users * SPIKE_BASE_SHARE))
    return Crowd(count, float(users))


def soak(at_s: float, users: int, seconds: float) -> Crowd | None:
    """Six in ten, who come slowly and stay for hours: what leaks, shows."""
    if at_s >= seconds:
        return None
    count = max(1, round(users * _SOAK_SHARE))
    return Crowd(count, max(0.1, count / (_SOAK_RISE * seconds)))


SHAPES: dict[str, Shape] = {"steady": steady, "ramp": ramp, "spike": spike, "soak": soak}
