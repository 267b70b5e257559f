"""Keeps an engine alive behind a server that already listens.

While it loads the process is alive and says so, moderation calls get a 503 with a time to come
back, and an orchestrator sees the truth on ``/readyz``. An engine that dies or hangs is noticed:
its calls end with a 503, it is released and started again, ever more patiently. One that can't be
started at all, or that dies again and again, is reported, so that the process may end and its
supervisor take over.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from server.api.engine_session import EngineRecipe, EngineSession, Serving, open_session
from server.api.lifecycle import EngineState, Phase
from server.concepts.policy_book import PolicyBook
from server.errors import EngineUnavailableError, SightwardError
from server.telemetry import Metrics

_log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class RestartRules:
    """How often and how patiently a dead engine is started again.

    Up to `max_failures` in a row, deaths and failed starts alike; the pause doubles from
    `first_pause_s` to `max_pause_s`. An engine that lived for `stable_s` starts a new row.
    """

    max_failures: int = 5
    first_pause_s: float = 1.0
    max_pause_s: float = 30.0
    stable_s: float = 300.0

    def pause_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row, before the next start."""
        return min(self.max_pause_s, self.first_pause_s * 2.0 ** (failures - 1))


def _ignore(serving: Serving) -> None:
    del serving


class EngineHost:
    """Owns one engine at a time from `start` to `stop`; `state` says how that is.

    `on_failure` is called once when no engine will be started any more, after the reason was
    logged: the first one could not be, or too many failed in a row. `on_ready` is called with what
    serves before an engine is asked by anyone, and again when its version changed under a new
    policy. `pause` waits for seconds. `name` tells this host from others in the log.
    """

    def __init__(
        self,
        recipe: EngineRecipe,
        *,
        metrics: Metrics,
        on_failure: Callable[[], None],
        on_ready: Callable[[Serving], None] = _ignore,
        readiness_timeout_s: float,
        name: str = "default",
        rules: RestartRules | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = EngineState()
        self.failure: str | None = None
        """Why the engine last died, or could not be started; None: it never did."""
        self._recipe = recipe
        self._metrics = metrics
        self._on_failure = on_failure
        self._on_ready = on_ready
        self._readiness_timeout_s = readiness_timeout_s
        self._log = _log.bind(model=name)
        self._rules = rules or RestartRules()
        self._pause = pause
        self._clock = clock
        self._session: EngineSession | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._has_settled = asyncio.Event()

    def start(self) -> None:
        """Begin loading; returns at once."""
        self._keeping = asyncio.create_task(self._keep_alive(), name="engine-host")

    async def settled(self) -> None:
        """Wait until the first loading has ended, well or badly."""
        if self._keeping is not None:
            await self._has_settled.wait()

    async def stop(self) -> None:
        """Give up loading, or stop the engine; afterwards nothing is answered."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        self._has_settled.set()
        await self._close()

    @property
    def serving(self) -> Serving:
        """What answers; raises the `EngineUnavailableError` that says why nothing does."""
        self.state.require()
        if self._session is None:
            raise EngineUnavailableError("the engine was stopped")
        return self._session.serving

    @property
    def waiting(self) -> int:
        """How many questions the engine is being waited for."""
        return 0 if self._session is None else self._session.waiting

    async def require_ready(self) -> None:
        """Return if the engine answers a probe now; raises `EngineUnavailableError`."""
        self.state.require()
        try:
            async with asyncio.timeout(self._readiness_timeout_s):
                is_ready = self._session is not None and await self._session.ready()
        except TimeoutError as error:
            raise EngineUnavailableError("the engine does not answer in time") from error
        if not is_ready:
            raise EngineUnavailableError("the engine does not answer")

    async def follow(self, book: PolicyBook) -> None:
        """Hold what serves to a policy that changed; one that is started later holds to it too."""
        session = self._session
        if session is None:
            return
        before = session.serving.moderator.model_version
        await session.follow(book)
        if session is self._session and session.serving.moderator.model_version != before:
            self._on_ready(session.serving)

    async def _keep_alive(self) -> None:
        failures = 0
        while True:
            if await self._open():
                began_s = self._clock()
                await self._wait_for_death()
                if self._clock() - began_s >= self._rules.stable_s:
                    failures = 0
            failures += 1
            if not self._has_settled.is_set() or failures > self._rules.max_failures:
                self.state.phase = Phase.FAILED
                self._has_settled.set()
                self._on_failure()
                return
            # Spread, so that replicas that died together don't load together.
            pause_s = self._rules.pause_s(failures) * random.uniform(0.8, 1.2)  # noqa: S311
            self._log.info(
                "engine to be started again", failures=failures, pause_s=round(pause_s, 1)
            )
            await self._pause(pause_s)

    async def _open(self) -> bool:
        """Start an engine; False when it can't be, after the reason was logged."""
        began_s = time.monotonic()
        try:
            self._session = await open_session(self._recipe)
        except Exception as error:
            # Whatever it was, a server without an engine must say so and not die silently. What we
            # raise on purpose explains itself; anything else needs its traceback.
            unexpected = None if isinstance(error, SightwardError) else error
            self.failure = str(error)
            self._log.error("engine failed to start", error=str(error), exc_info=unexpected)
            self._metrics.engine_failures.labels("start").inc()
            return False
        serving = self._session.serving
        self._on_ready(serving)
        self.state.phase = Phase.READY
        self._log.info(
            "engine ready",
            model_version=serving.moderator.model_version,
            seconds=round(time.monotonic() - began_s, 1),
        )
        self._has_settled.set()
        return True

    async def _wait_for_death(self) -> None:
        assert self._session is not None  # noqa: S101 - opened just before
        reason = await self._session.died()
        self.state.phase = Phase.RESTARTING
        self.failure = reason
        self._metrics.engine_failures.labels("death").inc()
        self._log.error("engine died", reason=reason)
        await self._close()

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
