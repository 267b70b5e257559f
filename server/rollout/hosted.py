"""One model of several: where it comes from, and how it is."""

from dataclasses import dataclass
from enum import StrEnum

from server.api.engine_host import EngineHost
from server.api.engine_session import Serving
from server.api.lifecycle import Phase
from server.errors import EngineUnavailableError
from server.rollout.orders import ModelOrder


class ModelState(StrEnum):
    """How a hosted model is; only a `READY` one is asked."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    RETIRING = "retiring"


_STATES = {
    Phase.STARTING: ModelState.LOADING,
    Phase.READY: ModelState.READY,
    Phase.RESTARTING: ModelState.RESTARTING,
    Phase.FAILED: ModelState.FAILED,
}


@dataclass(eq=False, slots=True)
class HostedModel:
    """A model under its name. `on` is whose weights it is served on; None: on its own."""

    name: str
    order: ModelOrder
    host: EngineHost
    on: str | None = None
    is_retiring: bool = False

    @property
    def state(self) -> ModelState:
        """How it is now."""
        return ModelState.RETIRING if self.is_retiring else _STATES[self.host.state.phase]

    @property
    def serving(self) -> Serving | None:
        """What answers; None unless it is ready."""
        if self.state is not ModelState.READY:
            return None
        try:
            return self.host.serving
        except EngineUnavailableError:
            return None
