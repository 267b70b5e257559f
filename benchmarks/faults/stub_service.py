"""``sightward serve`` on an engine without a model, for a quick look and for the faults' own tests.

It tells the two drawings apart by their ground and takes as long over one as the reference model
does on two cores. Like vLLM it has a process of its own, without which it does nothing: killing
that is its death.
"""

import asyncio
import subprocess
import sys

import numpy as np

import server.__main__ as command_line
from server.concepts.probes import load_probes
from server.engine.protocol import Answer, Engine, Question
from server.engine.stub import StubEngine
from server.errors import EngineUnavailableError

CORE_NAME = "sightward-stub-core"

_SECONDS_A_PICTURE = 0.04
_SURE = 0.97
_GREY_SPREAD = 12.0
_WATCH_EVERY_S = 0.1


class DrawingsEngine(StubEngine):
    """Answers as the drawings' labels want, one question at a time."""

    def __init__(self) -> None:
        super().__init__(self._judge)
        self._unsafe_answers = {
            probe.question: probe.unsafe_answer
            for probe in map(load_probes().judgement, load_probes().active)
        }
        self._turn = asyncio.Lock()
        self._core: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process that stands for the engine core."""
        if not self.is_started:
            # Ends by itself with its parent, whose end closes the pipe.
            self._core = subprocess.Popen(  # noqa: S603, ASYNC220 - our interpreter; instant
                [sys.executable, "-c", "import sys; sys.stdin.read()", CORE_NAME],
                stdin=subprocess.PIPE,
            )
        await super().start()

    async def stop(self) -> None:
        """End that process."""
        if self._core is not None:
            self._core.kill()
            self._core.communicate()
            self._core = None
        await super().stop()

    async def died(self) -> str:
        """Wait until it is gone."""
        while self._core is None or self._core.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(_WATCH_EVERY_S)
        self.die("the stub's process ended")
        return await super().died()

    async def ask(self, question: Question) -> Answer:
        """Take a while, then answer; raises `EngineUnavailableError` once the process is gone."""
        if question.text in self._unsafe_answers:
            async with self._turn:
                await asyncio.sleep(_SECONDS_A_PICTURE)
        if self._core is None or self._core.poll() is not None:
            raise EngineUnavailableError("the stub's process ended")
        answer = await super().ask(question)
        self.questions.clear()
        return answer

    def _judge(self, question: Question) -> Answer:
        is_unsafe = question.image is not None and _is_on_grey(np.asarray(question.image))
        wanted = self._unsafe_answers.get(question.text)
        if wanted is None:
            # Lettered: the first name for what is unsafe, "none of these" for the rest.
            chosen = question.options[0 if is_unsafe else -1]
        else:
            other = next(option for option in question.options if option != wanted)
            chosen = wanted if is_unsafe else other
        rest = (1.0 - _SURE) / max(1, len(question.options) - 1)
        return Answer({one: _SURE if one == chosen else rest for one in question.options})


def _is_on_grey(pixels: np.ndarray) -> bool:
    """Whether the upper left corner is grey, as the unsafe drawing's is; the other's is sky."""
    corner = pixels[:16, :16].reshape(-1, 3).mean(axis=0)
    return float(corner.max() - corner.min()) < _GREY_SPREAD + 8.0


def _make_engine(settings: object) -> Engine:
    del settings
    return DrawingsEngine()


def _no_check(settings: object) -> None:
    """It is no model, and passes for none."""
    del settings


def main() -> None:
    """The command line of the server, on this engine."""
    # The server's command line has no option for an engine without a model, and is to have none.
    vars(command_line).update(_make_engine=_make_engine, _startup_check=_no_check)
    command_line.main()


if __name__ == "__main__":
    main()
