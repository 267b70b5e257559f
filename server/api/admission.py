"""A bounded queue at the door: so many calls are worked on, so many wait, the rest come again.

Whoever is refused is told when a turn of its own would come, from how long calls have been taking:
by Little's law a house of N, each staying S seconds, lets N / S in a second. What is kept is the
mean of S / N, N being how many were there when a call came in: it stays as it is when the house
fills, since all of them wait for the same engine. Each refusal takes a turn further back, so that
those refused together don't all return together.

A call that could not be done in time is refused too, rather than worked on in vain: under overload
every answer that comes too late costs one that would have been in time, until none is.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from server.errors import QueueFullError

MAX_RETRY_AFTER_S = 30.0
_FIRST_GUESS_S = 1.0
"""How long a call takes in a full house, before any has ended."""
_NEWEST_WEIGHT = 0.1
_HOPE = 0.5
"""A call is let in if it should be done in this share of its time: what others took is a mean, and
one that has waited in vain is worse off than one that was sent away at once."""


class Admission:
    """Lets `max_running` calls in at once and has `max_waiting` wait for them, in order.

    Nobody waits who would have to for more than `max_wait_s` (None: any time). Used from the event
    loop's thread alone. `clock_s` is monotonic.
    """

    def __init__(
        self,
        *,
        max_running: int,
        max_waiting: int,
        max_wait_s: float | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self.clock_s = clock_s
        self._running = 0
        self._waiting: deque[Turn] = deque()
        self._pace_s: float | None = None
        self._promised_until_s = 0.0

    @property
    def running(self) -> int:
        """Calls that are worked on."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    @property
    def calls_per_s(self) -> float:
        """How many calls end in a second while as many run as may."""
        return self._max_running / _FIRST_GUESS_S if self._pace_s is None else 1.0 / self._pace_s

    @property
    def expected_stay_s(self) -> float:
        """How long a call is worked on while as many run as may; 0 before any has ended."""
        return 0.0 if self._pace_s is None else self._max_running * self._pace_s

    @property
    def expected_wait_s(self) -> float:
        """How long a call that came now would wait for its turn."""
        if self._running < self._max_running:
            return 0.0
        return (len(self._waiting) + 1) / self.calls_per_s

    def turn(self) -> "Turn":
        """A place for one call, which it must `end`, whatever happens to it."""
        return Turn(self)

    def enter(self, turn: "Turn", patience_s: float | None) -> None:
        """Let a call in, or have it wait; raises `QueueFullError`. For `Turn`."""
        if self._running < self._max_running:
            self._running += 1
            turn.come()
            return
        if len(self._waiting) >= self._max_waiting or self._is_hopeless(patience_s):
            raise QueueFullError(retry_after_s=self._next_promise_s())
        self._waiting.append(turn)

    def _is_hopeless(self, patience_s: float | None) -> bool:
        """Whether a call that came now would wait too long, or be done too late."""
        wait_s = self.expected_wait_s
        if self._max_wait_s is not None and wait_s > self._max_wait_s:
            return True
        return patience_s is not None and wait_s + self.expected_stay_s > _HOPE * patience_s

    def require_time(self, patience_s: float | None) -> None:
        """Refuse a call that has waited too long. For `Turn`."""
        if patience_s is not None and self.expected_stay_s > patience_s:
            raise QueueFullError(retry_after_s=self._next_promise_s())

    def give_up(self, turn: "Turn") -> None:
        """Take a call out of the queue. For `Turn`."""
        self._waiting.remove(turn)

    def leave(self, stay_s: float | None, *, running: int) -> None:
        """Pass a turn on to the first who waits. For `Turn`.

        It lasted so long, one of so many when it began; None: it was cut short, and tells nothing
        of how long calls take.
        """
        if stay_s is not None:
            self._note_pace(stay_s / running)
        if self._waiting:
            self._waiting.popleft().come()
        else:
            self._running -= 1

    def _note_pace(self, pace_s: float) -> None:
        if self._pace_s is None:
            self._pace_s = pace_s
        else:
            self._pace_s += _NEWEST_WEIGHT * (pace_s - self._pace_s)
        self._pace_s = max(self._pace_s, 1e-6)

    def _next_promise_s(self) -> float:
        """In how many seconds the next refused call may expect a turn."""
        now_s = self.clock_s()
        at_s = max(now_s + self.expected_wait_s, self._promised_until_s)
        at_s = min(at_s, now_s + MAX_RETRY_AFTER_S)
        self._promised_until_s = at_s + 1.0 / self.calls_per_s
        return at_s - now_s


class Turn:
    """One call's place: first none, then in the queue or at work, then none for good."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._came: asyncio.Future[None] | None = None
        self._began_s: float | None = None
        self._running = 1

    def ask(self, *, patience_s: float | None = None) -> bool:
        """Whether it is this call's turn already; else it is in the queue, and may `wait`.

        Raises `QueueFullError` when too many wait already, or when a turn is not to be expected
        within `patience_s`.
        """
        self._admission.enter(self, patience_s)
        if self._began_s is None:
            self._came = asyncio.get_running_loop().create_future()
        return self._came is None

    async def wait(self) -> None:
        """Return when it is this call's turn, for which it has asked."""
        if self._came is not None:
            await self._came

    def require_time(self, patience_s: float | None) -> None:
        """Return if a call whose turn has come can still be done in time.

        Raises `QueueFullError`: work on it would be in vain, and cost another call its own.
        """
        self._admission.require_time(patience_s)

    def come(self) -> None:
        """Begin. For `Admission`."""
        self._began_s = self._admission.clock_s()
        self._running = self._admission.running
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    def end(self, *, is_cut_short: bool = False) -> None:
        """Leave the queue, or pass the turn on; nothing for a call that was refused.

        A turn `is_cut_short` by a deadline or a client's leaving. Were it counted, calls would seem
        the quicker the more of them are late, and ever more would be let in to be late.
        """
        if self._began_s is not None:
            stay_s = self._admission.clock_s() - self._began_s
            self._admission.leave(None if is_cut_short else stay_s, running=self._running)
        elif self._came is not None:
            self._admission.give_up(self)
        self._began_s = self._came = None
