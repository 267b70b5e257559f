"""An engine that hangs is told from one that has nothing to do, and from one that is slow."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.engine.conversation import Chat, Turn, Writer
from server.engine.mortal import Mortal
from server.engine.protocol import Answer, Question, Sampling
from server.engine.stub import StubEngine
from server.engine.watched import WatchedEngine, watched
from server.errors import EngineUnavailableError

QUESTION = Question("Is it?", ("yes", "no"))
HANG_S = 10.0


class Looks:
    """Stands in for sleeping between looks: each ends when the test says so."""

    def __init__(self) -> None:
        self.step_s = 0.0
        self._looks: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def __call__(self, step_s: float) -> None:
        self.step_s = step_s
        may_look = asyncio.Event()
        self._looks.put_nowait(may_look)
        await may_look.wait()

    async def pass_s(self, seconds: float) -> None:
        """Let so much time pass, as far as the watch can tell."""
        passed_s = 0.0
        while passed_s < seconds:
            (await self._looks.get()).set()
            passed_s += self.step_s
        for _ in range(5):
            await asyncio.sleep(0)


class Silent(StubEngine):
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def ask(self, question: Question) -> Answer:
        await self.may_answer.wait()
        return await super().ask(question)


class Watch:
    """A watched engine, and whether it was found dead."""

    def __init__(self, inner: StubEngine, hang_s: float | None = HANG_S) -> None:
        self.looks = Looks()
        self.engine: WatchedEngine = watched(inner, hang_s=hang_s, pause=self.looks)
        self.death = asyncio.ensure_future(self.engine.died())


@pytest.fixture
async def silent() -> Silent:
    engine = Silent()
    await engine.start()
    return engine


@pytest.fixture
async def watch(silent: Silent) -> AsyncIterator[Watch]:
    made = Watch(silent)
    yield made
    made.death.cancel()
    await asyncio.gather(made.death, return_exceptions=True)


async def test_one_that_lets_questions_wait_is_dead(watch: Watch) -> None:
    asking = asyncio.create_task(watch.engine.ask(QUESTION))
    await watch.looks.pass_s(HANG_S - 1)
    assert not watch.death.done()
    await watch.looks.pass_s(1)
    assert (await watch.death) == "no answer for 10 s while questions waited (1 now)"
    asking.cancel()


async def test_callers_that_give_up_do_not_hide_it(watch: Watch) -> None:
    await asyncio.sleep(0)
    for _ in range(int(HANG_S)):
        asking = asyncio.create_task(watch.engine.ask(QUESTION))
        await watch.looks.pass_s(1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert "no answer" in await watch.death


async def test_one_that_answers_now_and_then_is_slow_and_alive(
    watch: Watch, silent: Silent
) -> None:
    for _ in range(4):
        asking = asyncio.create_task(watch.engine.ask(QUESTION))
        await watch.looks.pass_s(HANG_S - 1)
        silent.may_answer.set()
        await asking
        silent.may_answer.clear()
    assert not watch.death.done()


async def test_one_that_nobody_asks_is_alive(watch: Watch) -> None:
    await watch.looks.pass_s(3 * HANG_S)
    assert not watch.death.done()


async def test_probes_that_get_no_answer_count_as_questions() -> None:
    class NeverReady(StubEngine):
        async def ready(self) -> bool:
            await asyncio.Event().wait()
            return True

    watch = Watch(NeverReady())
    probing = asyncio.create_task(watch.engine.ready())
    await watch.looks.pass_s(HANG_S)
    assert "no answer" in await watch.death
    probing.cancel()


async def test_its_own_death_is_told_without_waiting(watch: Watch, silent: Silent) -> None:
    await asyncio.sleep(0)
    silent.die("killed")
    assert await watch.death == "killed"


async def test_without_a_limit_it_never_hangs(silent: Silent) -> None:
    watch = Watch(silent, hang_s=None)
    asking = asyncio.create_task(watch.engine.ask(QUESTION))
    await asyncio.sleep(0)
    assert watch.looks.step_s == 0.0
    silent.die("killed")
    assert await watch.death == "killed"
    asking.cancel()


async def test_a_reader_that_is_slow_is_not_the_engines_silence() -> None:
    writing = StubEngine(chats=lambda chat: ["a", "b"])
    await writing.start()
    engine = watched(writing, hang_s=HANG_S)
    assert isinstance(engine, Writer)
    assert isinstance(engine, Mortal)
    pieces = engine.stream(Chat((Turn("user", ("hello",)),)), Sampling())
    words = [(await anext(pieces)).text]
    assert engine.waiting == 0
    words += [piece.text async for piece in pieces]
    assert words == ["a", "b", ""]


async def test_errors_are_the_engines_and_leave_nobody_waiting() -> None:
    engine = watched(StubEngine(), hang_s=HANG_S)
    with pytest.raises(EngineUnavailableError):
        await engine.ask(QUESTION)
    assert engine.waiting == 0
