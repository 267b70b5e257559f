"""One life of an engine: made, started, tried out, and released again, however it ends.

Loading takes seconds to minutes and happens beside the event loop. An engine counts as started once
it has judged what it was tried with (`server.startup_check`). From then on it is watched for
hanging (`server.engine.watched`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from server.cascade import FastPath
from server.concepts.calibration import Calibration, CalibrationChoice
from server.concepts.policy_book import PolicyBook
from server.concepts.probes import ProbeSet
from server.engine.adaptable import Adaptable
from server.engine.conversation import Writer
from server.engine.protocol import Engine, ModelCard
from server.engine.watched import WatchedEngine, watched
from server.errors import SightwardError
from server.moderator import Moderator, chosen_calibration
from server.startup_check import StartupCheck

_log = structlog.get_logger("server")

_STOP_TIMEOUT_S = 60.0

FastPathOpener = Callable[[Calibration | None], Awaitable[FastPath | None]]
"""Opens the fast path of a model with that calibration; None where the policy wants none now."""


@dataclass(frozen=True, slots=True)
class EngineRecipe:
    """How to bring an engine to life.

    `make` may be slow (it is called in a thread). `probes` are the questions it is asked and
    `calibration` is what is made of the answers. `open_fast_path` is None where nobody can open
    one; where it fails, the reason is logged and the whole model judges everything. `check` is
    None where any engine that starts will do. One that answers nothing for `hang_s` though it was
    asked is taken for dead; None: it never is.
    """

    make: Callable[[], Engine]
    probes: ProbeSet
    calibration: CalibrationChoice = "own"
    open_fast_path: FastPathOpener | None = None
    check: StartupCheck | None = None
    hang_s: float | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """A started engine and what was built on it.

    `writer` is None for one that can't write, `adaptable` for one that takes no adapters beside
    its own.
    """

    card: ModelCard
    moderator: Moderator
    writer: Writer | None
    since_unix_s: int
    adaptable: Adaptable | None = None


class EngineSession:
    """A started engine; `close` it when done, or when it has died. Made by `open_session`."""

    def __init__(
        self, engine: Engine, seen: WatchedEngine, moderator: Moderator, recipe: EngineRecipe
    ) -> None:
        self._engine = engine
        self._watched = seen
        self._recipe = recipe
        self._calibration = chosen_calibration(recipe.calibration, engine.card)
        self._opening = asyncio.Lock()
        self._is_closed = False
        self.serving = Serving(
            engine.card,
            moderator,
            seen if isinstance(seen, Writer) else None,
            since_unix_s=int(time.time()),
            adaptable=engine if isinstance(engine, Adaptable) else None,
        )

    @property
    def waiting(self) -> int:
        """How many questions the engine is being waited for."""
        return self._watched.waiting

    async def ready(self) -> bool:
        """Whether the engine answers a probe right now."""
        return await self._watched.ready()

    async def died(self) -> str:
        """Wait until the engine is dead or hangs; with one that does neither, for ever."""
        return await self._watched.died()

    async def follow(self, book: PolicyBook) -> None:
        """Hold the fast path to a policy that changed; opens it where it was not wanted before."""
        moderator = self.serving.moderator
        async with self._opening:
            if moderator.fast_path is None and book.fast_path != "off" and not self._is_closed:
                moderator.fast_path = await _fast_path_with(
                    self._recipe.open_fast_path, self._calibration
                )
            if moderator.fast_path is not None:
                moderator.fast_path.follow(book)

    async def close(self) -> None:
        """Release everything; what an engine that died can't release any more is logged."""
        self._is_closed = True
        async with self._opening:  # what is being opened has to be released too
            await _release(self._engine, self.serving.moderator.fast_path)


async def open_session(recipe: EngineRecipe) -> EngineSession:
    """Bring an engine to life; whatever it raises, nothing is left behind."""
    engine = await asyncio.to_thread(recipe.make)
    fast_path: FastPath | None = None
    try:
        await engine.start()
        if recipe.check is not None:
            # Without the fast path: it is the whole model that is tried out.
            await recipe.check(Moderator(engine, recipe.probes, calibration=recipe.calibration))
        calibration = chosen_calibration(recipe.calibration, engine.card)
        fast_path = await _fast_path_with(recipe.open_fast_path, calibration)
        seen = watched(engine, hang_s=recipe.hang_s)
        moderator = Moderator(
            seen,
            recipe.probes,
            calibration="none" if calibration is None else calibration,
            fast_path=fast_path,
        )
        return EngineSession(engine, seen, moderator, recipe)
    except BaseException:
        await _release(engine, fast_path)
        raise


async def _fast_path_with(
    opener: FastPathOpener | None, calibration: Calibration | None
) -> FastPath | None:
    if opener is None:
        return None
    try:
        return await opener(calibration)
    except Exception as error:
        # Slower than the operator wanted is better than not at all.
        unexpected = None if isinstance(error, SightwardError) else error
        _log.warning("every picture is judged in full", reason=str(error), exc_info=unexpected)
        return None


async def _release(engine: Engine, fast_path: FastPath | None) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            if fast_path is not None:
                await fast_path.close()
            await engine.stop()
    except Exception as error:
        # What comes next (a new engine, or the end of the process) must not wait for this one.
        _log.warning("the engine could not be stopped in good order", exc_info=error)
