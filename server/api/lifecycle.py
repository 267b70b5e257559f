"""Whether new work is taken: starting, ready, restarting, draining, or failed for good.

Two things decide it. The engine host says how the engine is; whoever stops the process says that it
drains, which nothing takes back. What refuses work early (a queue at the door) asks `refusal`
first, before it reads a byte; what answers asks `require_open`.
"""

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


class Lifecycle:
    """The phase of one app; it begins with `STARTING`. Used from the event loop's thread alone."""

    def __init__(self) -> None:
        self._engine_phase: EnginePhase = Phase.STARTING
        self._is_draining = False

    @property
    def phase(self) -> Phase:
        """The phase now; draining hides how the engine is."""
        return Phase.DRAINING if self._is_draining else self._engine_phase

    def refusal(self) -> EngineUnavailableError | DrainingError | None:
        """Why new work is refused now, always to be tried again; None: it is taken."""
        return DrainingError() if self._is_draining else self._engine_refusal()

    def _engine_refusal(self) -> EngineUnavailableError | None:
        match self._engine_phase:
            case Phase.READY:
                return None
            case Phase.STARTING:
                return EngineStartingError("the engine is loading")
            case Phase.RESTARTING:
                return EngineRestartingError("the engine died and is being started again")
            case Phase.FAILED:
                return EngineUnavailableError("the engine failed to start")

    def require_open(self) -> None:
        """Return if new work is taken; raises what `refusal` gives."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal

    def require_engine(self) -> None:
        """Return if there is an engine, for work that was taken already: draining lets it end."""
        refusal = self._engine_refusal()
        if refusal is not None:
            raise refusal

    def engine_is(self, phase: EnginePhase) -> None:
        """Note how the engine is; for its host."""
        self._engine_phase = phase

    def drain(self) -> None:
        """Take no new work from now on; what runs goes on."""
        self._is_draining = True
