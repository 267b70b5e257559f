"""``sightward serve`` asked for yes and no alone: what categories and concepts cost, over HTTP.

The same model and pipeline; vLLM is not asked for the probabilities of the rows that name what a
picture shows, and nothing is made of them. The rows themselves are still written (a small head on
one position).
"""

from dataclasses import replace

import server.__main__ as command_line
from server.engine.protocol import Engine
from server.engine.vllm_engine import VllmEngine
from server.serving_engine import make_engine
from server.settings import Settings


class PlainVllmEngine(VllmEngine):
    """Answers with no recognition and no risk."""

    async def start(self) -> None:
        """Load, then forget where the rows are."""
        await super().start()
        if self._serving is not None:
            self._serving = replace(self._serving, rows=None, risk_rows=None, readings={})


def _make_plain_engine(settings: Settings) -> Engine:
    engine = make_engine(settings)
    if isinstance(engine, VllmEngine):
        engine.__class__ = PlainVllmEngine
    return engine


def _no_check(settings: object) -> None:
    """The check wants names for what it sees."""
    del settings


def main() -> None:
    """The command line of the server, on this engine."""
    vars(command_line).update(_make_engine=_make_plain_engine, _startup_check=_no_check)
    command_line.main()


if __name__ == "__main__":
    main()
