"""An engine without a model, for tests and for developing against the API.

It ships beside the real engines so that everything above the `Engine` seam is tested in process,
with answers the test chose and every question recorded.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence

from server.engine.conversation import Chat, Piece, gathered
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


Words = Sequence[str] | AsyncIterable[str]
"""An answer's tokens; those of an iterable come when it gives them."""


def no_answer(chat: Chat) -> Words:
    """Say nothing to a conversation."""
    del chat
    return ()


class StubEngine:
    """An `Engine`, `Mortal`, `Writer` and `BatchEngine` whose answers the test chose.

    `answers` is one fixed `Answer`, or a callable that is given each question; `writes` is given
    each prompt, and `chats` each conversation, for its answer's words, one a token. Any of them may
    raise an `EngineError`; in a batch it stands in the answer's place. `questions`, `prompts` and
    `conversations` list what was asked, in order; `unfinished` counts answers that are being
    written or were given up before their end. `start_error` makes `start` fail with
    that reason; `is_healthy = False` makes a started engine fail its probe and refuse questions, as
    one does that is out of order; `die` is its death, after which it may be started again.
    """

    def __init__(
        self,
        answers: Answer | Callable[[Question], Answer] = even_answer,
        *,
        card: ModelCard = STUB_CARD,
        writes: Callable[[Prompt], Written] = no_words,
        chats: Callable[[Chat], Words] = no_answer,
        start_error: str | None = None,
    ) -> None:
        self.card = card
        self.is_healthy = True
        self.is_started = False
        self.questions: list[Question] = []
        self.prompts: list[Prompt] = []
        self.conversations: list[tuple[Chat, Sampling]] = []
        self.unfinished = 0
        self.answers = answers
        self._death: asyncio.Future[str] | None = None
        self._writes = writes
        self._chats = chats
        self._start_error = start_error

    async def start(self) -> None:
        """Become ready at once; raises `EngineStartError` when built with a `start_error`."""
        if self._start_error is not None:
            raise EngineStartError(self._start_error)
        self.is_started = True
        self._death = asyncio.get_running_loop().create_future()

    def die(self, reason: str = "the stub was told to die") -> None:
        """Answer nothing any more, and say so."""
        self.is_started = False
        if self._death is not None and not self._death.done():
            self._death.set_result(reason)

    async def died(self) -> str:
        """Wait for `die`; for ever on an engine that was not started."""
        death = self._death or asyncio.get_running_loop().create_future()
        return await asyncio.shield(death)

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
        return self.answers(question) if callable(self.answers) else self.answers

    async def write(self, chat: Chat, sampling: Sampling) -> Written:
        """The whole answer; errors as `stream`."""
        return await gathered(self.stream(chat, sampling))

    async def stream(self, chat: Chat, sampling: Sampling) -> AsyncGenerator[Piece]:
        """Record the conversation and answer it word by word, the end being a token of its own.

        Raises `EngineUnavailableError` unless ready. A prompt has a token a part.
        """
        if not await self.ready():
            raise EngineUnavailableError("the stub engine is not ready")
        self.conversations.append((chat, sampling))
        prompt_tokens = sum(len(turn.parts) for turn in chat.turns)
        tokens, words = 0, self._chats(chat)
        self.unfinished += 1
        async for word in _as_they_come(words):
            tokens += 1
            if tokens == sampling.max_tokens:
                self.unfinished -= 1
                yield Piece(word, tokens, prompt_tokens, end="length")
                return
            yield Piece(word, tokens, prompt_tokens)
        self.unfinished -= 1
        yield Piece("", tokens + 1, prompt_tokens, end="stop")

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


async def _as_they_come(words: Words) -> AsyncGenerator[str]:
    if isinstance(words, Sequence):
        for word in words:
            yield word
        return
    async for word in words:
        yield word
