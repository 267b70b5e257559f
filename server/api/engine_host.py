"""Starts the engine behind a server that already listens, and stops it at the end.

Loading takes seconds to minutes. Meanwhile the process is alive and says so, moderation calls get a
503 with a time to come back, and an orchestrator sees the truth on ``/readyz``.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from server.api.lifecycle import Lifecycle, Phase
from server.cascade import FastPath
from server.concepts.calibration import Calibration, CalibrationChoice
from server.concepts.probes import ProbeSet
from server.engine.conversation import Writer
from server.engine.protocol import Engine, ModelCard
from server.errors import EngineUnavailableError, SightwardError
from server.moderator import Moderator, chosen_calibration

_log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class Serving:
    """A started engine and what was built on it; `writer` is None for one that can't write."""

    card: ModelCard
    moderator: Moderator
    writer: Writer | None
    since_unix_s: int


FastPathOpener = Callable[[Calibration | None], Awaitable[FastPath]]
"""Opens the fast path of a model with that calibration."""


class EngineHost:
    """Owns one engine from `start` to `stop`.

    `make_engine` may be slow (it is called in a thread); `on_failure` is called once if the engine
    can't be made or started, after the reason was logged. `probes` are the questions it is asked,
    `calibration` is what is made of the answers. `open_fast_path` is None where the policy wants no
    fast path; where it fails, the reason is logged and the whole model judges everything.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        probes: ProbeSet,
        *,
        lifecycle: Lifecycle,
        on_failure: Callable[[], None],
        readiness_timeout_s: float,
        calibration: CalibrationChoice = "own",
        open_fast_path: FastPathOpener | None = None,
    ) -> None:
        self._make_engine = make_engine
        self._probes = probes
        self._lifecycle = lifecycle
        self._on_failure = on_failure
        self._readiness_timeout_s = readiness_timeout_s
        self._calibration = calibration
        self._open_fast_path = open_fast_path
        self._fast_path: FastPath | None = None
        self._engine: Engine | None = None
        self._serving: Serving | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin loading; returns at once."""
        self._starting = asyncio.create_task(self._start(), name="engine-start")

    async def _start(self) -> None:
        began_s = time.monotonic()
        try:
            self._engine = await asyncio.to_thread(self._make_engine)
            await self._engine.start()
            calibration = chosen_calibration(self._calibration, self._engine.card)
            self._fast_path = await self._fast_path_with(calibration)
            moderator = Moderator(
                self._engine,
                self._probes,
                calibration="none" if calibration is None else calibration,
                fast_path=self._fast_path,
            )
        except Exception as error:
            # Whatever it was, a server without an engine must say so and not die silently.
            self._lifecycle.engine_is(Phase.FAILED)
            # What we raise on purpose explains itself; anything else needs its traceback.
            unexpected = None if isinstance(error, SightwardError) else error
            _log.error("engine failed to start", error=str(error), exc_info=unexpected)
            self._on_failure()
            return
        writer = self._engine if isinstance(self._engine, Writer) else None
        self._serving = Serving(self._engine.card, moderator, writer, since_unix_s=int(time.time()))
        self._lifecycle.engine_is(Phase.READY)
        _log.info(
            "engine ready",
            model_version=moderator.model_version,
            seconds=round(time.monotonic() - began_s, 1),
        )

    async def _fast_path_with(self, calibration: Calibration | None) -> FastPath | None:
        if self._open_fast_path is None:
            return None
        try:
            return await self._open_fast_path(calibration)
        except Exception as error:
            # Slower than the operator wanted is better than not at all.
            unexpected = None if isinstance(error, SightwardError) else error
            _log.warning("every picture is judged in full", reason=str(error), exc_info=unexpected)
            return None

    async def settled(self) -> None:
        """Wait until loading has ended, well or badly."""
        if self._starting is not None:
            await asyncio.wait([self._starting])

    async def stop(self) -> None:
        """Give up loading, or stop the engine; afterwards nothing is answered."""
        self._serving = None
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        if self._fast_path is not None:
            await self._fast_path.close()
        if self._engine is not None:
            await self._engine.stop()

    @property
    def serving(self) -> Serving:
        """What answers; raises what the lifecycle refuses new work with."""
        self._lifecycle.require_open()
        if self._serving is None:
            raise EngineUnavailableError("the engine was stopped")
        return self._serving

    async def require_ready(self) -> None:
        """Return if the engine answers a probe now; raises `EngineUnavailableError` if not."""
        _ = self.serving
        try:
            async with asyncio.timeout(self._readiness_timeout_s):
                is_ready = self._engine is not None and await self._engine.ready()
        except TimeoutError as error:
            raise EngineUnavailableError("the engine does not answer in time") from error
        if not is_ready:
            raise EngineUnavailableError("the engine does not answer")
