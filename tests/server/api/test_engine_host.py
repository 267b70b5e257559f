"""An engine that dies is seen, replaced and, where that fails too often, given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from structlog.testing import capture_logs

from server.api.app import create_app
from server.api.engine_host import EngineHost, RestartRules
from server.api.engine_session import EngineRecipe
from server.api.lifecycle import Lifecycle, Phase
from server.concepts.probes import load_probes
from server.engine.protocol import Answer, Engine, Question
from server.engine.stub import StubEngine
from server.errors import EngineRestartingError, EngineStartError, EngineUnavailableError
from server.moderator import Moderator
from server.settings import Settings
from server.telemetry import Metrics


class Pauses:
    """Stands in for sleeping: notes how long, and ends when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.may_end: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, pause_s: float) -> None:
        self.asked.put_nowait(pause_s)
        await self.may_end.get()

    def end(self) -> None:
        self.may_end.put_nowait(None)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Kept:
    """A host with all that a test needs to see of it."""

    def __init__(
        self,
        make: Callable[[], Engine],
        rules: RestartRules,
        check: object,
        hang_s: float | None,
    ) -> None:
        self.metrics = Metrics()
        self.pauses, self.clock = Pauses(), Clock()
        self.given_up = asyncio.Event()
        self.host = EngineHost(
            EngineRecipe(make, load_probes(), check=check, hang_s=hang_s),  # type: ignore[arg-type]
            metrics=self.metrics,
            on_failure=self.given_up.set,
            readiness_timeout_s=10.0,
            rules=rules,
            pause=self.pauses,
            clock=self.clock,
        )
        self.lifecycle = Lifecycle()
        self.lifecycle.follow(self.host.state)

    async def until(self, phase: Phase) -> None:
        async with asyncio.timeout(60):
            while self.lifecycle.phase is not phase:  # noqa: ASYNC110
                await asyncio.sleep(0)

    def failures(self, kind: str) -> float | None:
        name = "sightward_engine_failures_total"
        return self.metrics.registry.get_sample_value(name, {"kind": kind})


@asynccontextmanager
async def kept(
    make: Callable[[], Engine],
    rules: RestartRules | None = None,
    check: object = None,
    hang_s: float | None = None,
) -> AsyncIterator[Kept]:
    keeper = Kept(make, rules or RestartRules(), check, hang_s)
    keeper.host.start()
    await keeper.host.settled()
    try:
        yield keeper
    finally:
        await keeper.host.stop()


async def test_an_engine_that_dies_is_replaced_and_the_service_ready_again_by_itself() -> None:
    engines: list[StubEngine] = []

    def make() -> StubEngine:
        engines.append(StubEngine())
        return engines[-1]

    async with kept(make) as keeper:
        before = keeper.host.serving
        engines[0].die("killed by the test")
        with capture_logs() as logs:
            await keeper.until(Phase.RESTARTING)
            with pytest.raises(EngineRestartingError):
                _ = keeper.host.serving
            with pytest.raises(EngineRestartingError):
                await keeper.host.require_ready()
            assert 0.8 <= await keeper.pauses.asked.get() <= 1.2
            keeper.pauses.end()
            await keeper.until(Phase.READY)
        assert keeper.host.serving is not before
        await keeper.host.require_ready()
        assert (len(engines), engines[0].is_started, engines[1].is_started) == (2, False, True)
        assert keeper.failures("death") == 1.0
        assert [line["reason"] for line in logs if line["event"] == "engine died"] == [
            "killed by the test"
        ]
    assert not engines[1].is_started


async def test_pauses_double_and_after_too_many_failures_in_a_row_it_is_given_up() -> None:
    engines: list[StubEngine] = []

    def make() -> StubEngine:
        engines.append(StubEngine(start_error="no memory" if engines else None))
        return engines[-1]

    async with kept(make, RestartRules(max_failures=4, max_pause_s=3.0)) as keeper:
        engines[0].die()
        pauses_s = []
        for _ in range(4):
            pauses_s.append(await keeper.pauses.asked.get())
            assert not keeper.given_up.is_set()
            keeper.pauses.end()
        async with asyncio.timeout(60):
            await keeper.given_up.wait()
        ratios = [
            pause_s / wanted_s for pause_s, wanted_s in zip(pauses_s, (1, 2, 3, 3), strict=True)
        ]
        assert ratios == [pytest.approx(1.0, abs=0.2)] * 4
        assert keeper.lifecycle.phase is Phase.FAILED
        assert (keeper.failures("death"), keeper.failures("start")) == (1.0, 4.0)


async def test_an_engine_that_lived_long_begins_a_new_row_of_failures() -> None:
    engine = StubEngine()
    async with kept(lambda: engine, RestartRules(max_failures=1, stable_s=300)) as keeper:
        for _ in range(3):
            keeper.clock.now_s += 300
            engine.die()
            await keeper.pauses.asked.get()
            keeper.pauses.end()
            await keeper.until(Phase.READY)
        engine.die()
        async with asyncio.timeout(60):
            await keeper.given_up.wait()


async def test_a_first_engine_that_cannot_start_is_not_tried_again() -> None:
    made: list[StubEngine] = []

    def make() -> StubEngine:
        made.append(StubEngine(start_error="no weights"))
        return made[-1]

    async with kept(make) as keeper:
        assert keeper.given_up.is_set()
        assert len(made) == 1
        with pytest.raises(EngineUnavailableError):
            _ = keeper.host.serving


async def test_an_engine_that_fails_its_check_is_released_and_never_asked() -> None:
    engine = StubEngine()

    async def check(moderator: Moderator) -> None:
        raise EngineStartError("it judges nothing right")

    async with kept(lambda: engine, check=check) as keeper:
        assert keeper.given_up.is_set()
        assert keeper.lifecycle.phase is Phase.FAILED
        assert not engine.is_started


async def test_a_dead_engine_that_cannot_be_stopped_does_not_stand_in_the_way() -> None:
    class Stubborn(StubEngine):
        async def stop(self) -> None:
            raise OSError("broken pipe")

    engine = Stubborn()
    async with kept(lambda: engine) as keeper:
        engine.die()
        await keeper.pauses.asked.get()
        keeper.pauses.end()
        await keeper.until(Phase.READY)


async def test_stopping_during_a_pause_ends_it() -> None:
    engine = StubEngine()
    async with kept(lambda: engine) as keeper:
        engine.die()
        await keeper.pauses.asked.get()
    assert not engine.is_started


async def test_calls_in_flight_when_the_engine_dies_get_a_503_to_try_again_with() -> None:
    class Waiting(StubEngine):
        """Answers when it is dead, as vLLM ends its requests."""

        def __init__(self) -> None:
            super().__init__()
            self.was_asked = asyncio.Event()

        async def ask(self, question: object) -> object:  # type: ignore[override]
            self.was_asked.set()
            await self.died()
            raise EngineUnavailableError("vLLM's engine process died")

    engine = Waiting()
    app = create_app(Settings(), engine=engine)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        await app.state.services.engine_host.settled()
        asking = [
            asyncio.create_task(client.post("/v1/moderations", json={"input": f"text {number}"}))
            for number in range(3)
        ]
        await engine.was_asked.wait()
        engine.die()
        for response in await asyncio.gather(*asking):
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
        scrape = (await client.get("/metrics")).text
    assert 'sightward_engine_failures_total{kind="death"} 1.0' in scrape


async def test_metrics_name_the_phase_and_the_model() -> None:
    app = create_app(Settings(), engine=StubEngine())
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        await app.state.services.engine_host.settled()
        lines = (await client.get("/metrics")).text.splitlines()
    assert 'sightward_phase{phase="ready"} 1.0' in lines
    assert 'sightward_phase{phase="draining"} 0.0' in lines
    (info,) = [line for line in lines if line.startswith("sightward_model_info{")]
    assert 'model="sightward-stub"' in info


async def test_an_engine_that_hangs_is_released_and_started_again() -> None:
    class Hanging(StubEngine):
        """Lets every question after the first engine's start wait for ever."""

        async def ask(self, question: Question) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    engines: list[StubEngine] = []

    def make() -> StubEngine:
        engines.append(StubEngine() if engines else Hanging())
        return engines[-1]

    async with kept(make, hang_s=0.02) as keeper:
        asking = asyncio.create_task(keeper.host.serving.moderator.judge_text("a boat"))
        async with asyncio.timeout(60):
            await keeper.pauses.asked.get()
        assert keeper.host.failure is not None
        assert "no answer for 0.02 s" in keeper.host.failure
        assert not engines[0].is_started
        keeper.pauses.end()
        await keeper.until(Phase.READY)
        asking.cancel()
        await keeper.host.serving.moderator.judge_text("a boat")
