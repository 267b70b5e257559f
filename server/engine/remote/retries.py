"""When a request is tried again, and after how long: what the endpoint says, else ever longer."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an endpoint, in seconds.

    `connect_s` for a connection, `silence_s` for the next byte, `attempt_s` for a whole answer; a
    question is asked at most `attempts` times within `total_s`, waits included. Raises `ValueError`
    for a number that is not positive.
    """

    connect_s: float = 10.0
    silence_s: float = 180.0
    attempt_s: float = 300.0
    attempts: int = 6
    total_s: float = 600.0

    def __post_init__(self) -> None:
        numbers = (self.connect_s, self.silence_s, self.attempt_s, self.attempts, self.total_s)
        if not all(number > 0 for number in numbers):
            raise ValueError(f"every number must be positive: {self}")


class TransientError(Exception):
    """A failure that may pass; `wait_s` is how long the endpoint asks to be left alone.

    Never leaves this package.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


def retry_hook(patience: Patience) -> Callable[[Exception], bool | float]:
    """Whether to try again, for stamina: True waits as it sees fit, a number waits that long.

    A wait that would end after `total_s` from now is not begun at all.
    """
    deadline_s = time.monotonic() + patience.total_s

    def wait_before_retry(error: Exception) -> bool | float:
        if not isinstance(error, TransientError):
            return False
        if error.wait_s is None:
            return True
        return error.wait_s if time.monotonic() + error.wait_s <= deadline_s else False

    return wait_before_retry


def requested_wait_s(headers: Mapping[str, str]) -> float | None:
    """The wait that ``retry-after-ms`` or ``retry-after`` (seconds or a date) asks for.

    A date counts from the endpoint's own clock where it sends one. None for no wait, one that is
    over or one that can't be read.
    """
    for name, per_s in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait_s = float(headers[name]) / per_s
        except (KeyError, ValueError):
            continue
        return wait_s if math.isfinite(wait_s) and wait_s > 0 else None
    until_s = _epoch_s(headers.get("retry-after"))
    if until_s is None:
        return None
    now_s = _epoch_s(headers.get("date"))
    wait_s = until_s - (time.time() if now_s is None else now_s)
    return wait_s if wait_s > 0 else None


def _epoch_s(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
