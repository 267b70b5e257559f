"""Notices an engine that hangs: alive, asked, and silent.

A process that died is seen by whoever started it; one that is stuck (a deadlock, a stopped process,
a device that does not come back) is not. What tells the two kinds of quiet apart is that questions
wait. The time is counted in looks, not read from a clock, so that a machine that was suspended, or
an event loop that was held up, is not taken for a silent engine.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from server.engine.conversation import Chat, Piece, Writer, gathered
from server.engine.mortal import Mortal
from server.engine.protocol import Answer, Engine, ModelCard, Question, Sampling, Written

Pause = Callable[[float], Awaitable[None]]

_LOOKS = 20
_MAX_STEP_S = 1.0


class WatchedEngine:
    """`inner` as an `Engine` and `Mortal`: one that hangs is one that `died`.

    It hangs when questions wait and none has been answered for `hang_s` (None: it never does). What
    a caller gave up on waited too, and no answer to it is none.
    """

    def __init__(
        self, inner: Engine, *, hang_s: float | None, pause: Pause = asyncio.sleep
    ) -> None:
        self._inner = inner
        self._hang_s = hang_s
        self._pause = pause
        self._answers = 0
        self.waiting = 0
        """How many questions and pieces of answers the engine is being waited for."""

    @property
    def card(self) -> ModelCard:
        """The model that is served."""
        return self._inner.card

    async def start(self) -> None:
        """Start the engine."""
        await self._inner.start()

    async def stop(self) -> None:
        """Stop the engine."""
        await self._inner.stop()

    async def ready(self) -> bool:
        """Whether the engine answers a probe right now."""
        with self._waited_for():
            is_ready = await self._inner.ready()
        if is_ready:
            self._answers += 1
        return is_ready

    async def ask(self, question: Question) -> Answer:
        """The engine's answer; raises what it raises."""
        with self._waited_for():
            answer = await self._inner.ask(question)
        self._answers += 1
        return answer

    async def died(self) -> str:
        """Wait until the engine died or hangs; returns how, for the log."""
        deaths = [asyncio.ensure_future(one) for one in self._deaths()]
        try:
            done, _ = await asyncio.wait(deaths, return_when=asyncio.FIRST_COMPLETED)
            return next(death.result() for death in deaths if death in done)
        finally:
            for death in deaths:
                death.cancel()
            await asyncio.gather(*deaths, return_exceptions=True)

    def _deaths(self) -> Iterator[Awaitable[str]]:
        if isinstance(self._inner, Mortal):
            yield self._inner.died()
        yield self._hangs()

    async def _hangs(self) -> str:
        if self._hang_s is None:
            await asyncio.Event().wait()
            return ""
        step_s = min(_MAX_STEP_S, self._hang_s / _LOOKS)
        quiet_s, seen = 0.0, self._answers
        while quiet_s < self._hang_s:
            await self._pause(step_s)
            if self._answers != seen:
                quiet_s, seen = 0.0, self._answers
            elif self.waiting:
                quiet_s += step_s
        return f"no answer for {self._hang_s:g} s while questions waited ({self.waiting} now)"

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


class WatchedWriter(WatchedEngine):
    """The same of an engine that is a `Writer` too."""

    def __init__(
        self, inner: Engine, writer: Writer, *, hang_s: float | None, pause: Pause = asyncio.sleep
    ) -> None:
        super().__init__(inner, hang_s=hang_s, pause=pause)
        self._writer = writer

    async def write(self, chat: Chat, sampling: Sampling) -> Written:
        """The whole answer; errors as `stream`."""
        return await gathered(self.stream(chat, sampling))

    async def stream(self, chat: Chat, sampling: Sampling) -> AsyncGenerator[Piece]:
        """The answer piece by piece; a client that reads slowly is not the engine's silence."""
        async with aclosing(self._writer.stream(chat, sampling)) as pieces:
            while True:
                with self._waited_for():
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                self._answers += 1
                yield piece


def watched(engine: Engine, *, hang_s: float | None, pause: Pause = asyncio.sleep) -> WatchedEngine:
    """`engine`, watched; it writes if that does."""
    if isinstance(engine, Writer):
        return WatchedWriter(engine, engine, hang_s=hang_s, pause=pause)
    return WatchedEngine(engine, hang_s=hang_s, pause=pause)
