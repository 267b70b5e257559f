"""The seam for an engine that serves several adapters on the weights it has loaded."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from server.engine.protocol import Engine


@runtime_checkable
class Adaptable(Protocol):
    """An engine beside being an `Engine`: one whose model can be asked with other adapters."""

    def adapted(self, adapter: Path, *, name: str) -> Engine:
        """An engine of its own that asks the same weights with this PEFT adapter, called `name`.

        It takes no second copy of the weights, lives as long as this engine, and is started and
        stopped by itself. Raises `EngineStartError` where that is not possible, or not quick.
        """
        ...
