"""What a model is made of before it runs, and who knows how to make one."""

from collections.abc import Callable
from dataclasses import dataclass

from server.cascade import FastReader
from server.engine.protocol import Engine
from server.rollout.orders import ModelOrder
from server.startup_check import StartupCheck


@dataclass(frozen=True, slots=True)
class ModelParts:
    """How to make an engine (slow: call it in a thread), its fast reader, and what it must pass.

    `fast_reader` is None where nothing reads pictures without the engine, `check` where any engine
    that starts will do.
    """

    make: Callable[[], Engine]
    fast_reader: Callable[[], FastReader] | None = None
    check: StartupCheck | None = None


ModelMaker = Callable[[ModelOrder], ModelParts]
"""The parts of a model that is to be loaded beside others; may block.

Raises a `SightwardError` for one that can't run here: an unknown name, no memory for it.
"""
