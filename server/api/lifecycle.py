"""Whether new work is taken: starting, ready, restarting, draining, or failed for good.

Two things decide it. An engine's host says how that engine is (`EngineState`), and the service is
as the engine of its default model; whoever stops the process says that it drains, which nothing
takes back. What refuses work early (a queue at the door) asks `refusal` first, before it reads a
byte; what answers asks `require_open`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from server.errors import (
    DrainingError,
    EngineRestartingError,
    EngineStartingError,
    EngineUnavailableError,
)


class Phase(StrEnum):
    """What the service is doing about new work; it takes some only when `READY`."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"


EnginePhase = Literal[Phase.STARTING, Phase.READY, Phase.RESTARTING, Phase.FAILED]


class EngineState:
    """How one engine is; it begins with `STARTING`. Its host says so, anyone may ask."""

    def __init__(self) -> None:
        self.phase: EnginePhase = Phase.STARTING

    def refusal(self) -> EngineUnavailableError | None:
        """Why it can't be asked now; None: it can."""
        match self.phase:
            case Phase.READY:
                return None
            case Phase.STARTING:
                return EngineStartingError("the engine is loading")
            case Phase.RESTARTING:
                return EngineRestartingError("the engine died and is being started again")
            case Phase.FAILED:
                return EngineUnavailableError("the engine failed to start")

    def require(self) -> None:
        """Return if it can be asked; raises what `refusal` gives."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal


class Lifecycle:
    """The phase of one app and of the engine that it follows. Used from the event loop's thread
    alone.
    """

    def __init__(self) -> None:
        self._engine = EngineState()
        self._is_draining = False
        self._when_draining: list[Callable[[], None]] = []

    @property
    def phase(self) -> Phase:
        """The phase now; draining hides how the engine is."""
        return Phase.DRAINING if self._is_draining else self._engine.phase

    def follow(self, engine: EngineState) -> None:
        """Be as this engine is from now on."""
        self._engine = engine

    def refusal(self) -> EngineUnavailableError | DrainingError | None:
        """Why new work is refused now, always to be tried again; None: it is taken."""
        return DrainingError() if self._is_draining else self._engine.refusal()

    def require_open(self) -> None:
        """Return if new work is taken; raises what `refusal` gives."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal

    def when_draining(self, begin: Callable[[], None]) -> None:
        """Have `begin` called once the service drains."""
        self._when_draining.append(begin)

    def drain(self) -> None:
        """Take no new work from now on; what runs goes on."""
        if self._is_draining:
            return
        self._is_draining = True
        for begin in self._when_draining:
            begin()
