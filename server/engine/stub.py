"""An engine without a model, for tests and for developing against the API.

It ships beside the real engines so that everything above the `Engine` seam is tested in process,
with answers the test chose and every question recorded.
"""

from collections.abc import Callable, Sequence

from server.engine.protocol import Answer, ModelCard, Prompt, Question, Sampling, Written
from server.errors import EngineError, EngineStartError, EngineUnavailableError

STUB_CARD = ModelCard(id="sightward-stub", version="0" * 12, has_recognition=False)


def even_answer(question: Question) -> Answer:
    """Give every option the same share of all probability: an engine with no opinion."""
    share = 1.0 / len(question.options)
    return Answer(option_mass=dict.fromkeys(question.options, share))


def no_words(prompt: Prompt) -> Written:
    """Write nothing: an engine that ends its answer at once."""
    del prompt
    return Written(text="", tokens=1, is_complete=True)


class StubEngine:
    """An `Engine` and `BatchEngine` whose answers the test chose.

    `answers` is one fixed `Answer`, or a callable that is given each question; `writes` is given
    each prompt. Either may raise an `EngineError`; in a batch it stands in the answer's place.
    `questions` and `prompts` list what was asked, in order. `start_error` makes `start` fail with
    that reason; `is_healthy = False` makes a started engine fail its probe and refuse questions, as
    a dead one does.
    """

    def __init__(
        self,
        answers: Answer | Callable[[Question], Answer] = even_answer,
        *,
        card: ModelCard = STUB_CARD,
        writes: Callable[[Prompt], Written] = no_words,
        start_error: str | None = None,
    ) -> None:
        self.card = card
        self.is_healthy = True
        self.is_started = False
        self.questions: list[Question] = []
        self.prompts: list[Prompt] = []
        self._answers = answers
        self._writes = writes
        self._start_error = start_error

    async def start(self) -> None:
        """Become ready at once; raises `EngineStartError` when built with a `start_error`."""
        if self._start_error is not None:
            raise EngineStartError(self._start_error)
        self.is_started = True

    async def stop(self) -> None:
        """Refuse questions from now on; may be called twice."""
        self.is_started = False

    async def ready(self) -> bool:
        """Whether the stub is started and was not made unhealthy."""
        return self.is_started and self.is_healthy

    async def ask(self, question: Question) -> Answer:
        """Record the question and answer it; raises `EngineUnavailableError` unless ready."""
        if not await self.ready():
            raise EngineUnavailableError("the stub engine is not ready")
        self.questions.append(question)
        return self._answers(question) if callable(self._answers) else self._answers

    async def ask_all(self, questions: Sequence[Question]) -> list[Answer | EngineError]:
        """Answer each question; raises `EngineUnavailableError` unless ready."""
        answers: list[Answer | EngineError] = []
        for question in questions:
            try:
                answers.append(await self.ask(question))
            except EngineUnavailableError:
                raise
            except EngineError as error:
                answers.append(error)
        return answers

    async def write_all(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        """Answer each prompt; raises `EngineUnavailableError` unless ready."""
        del sampling
        if not await self.ready():
            raise EngineUnavailableError("the stub engine is not ready")
        answers: list[Written | EngineError] = []
        for prompt in prompts:
            self.prompts.append(prompt)
            try:
                answers.append(self._writes(prompt))
            except EngineError as error:
                answers.append(error)
        return answers
