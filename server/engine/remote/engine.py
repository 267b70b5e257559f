"""The engine for any OpenAI-compatible chat endpoint: hosted models, or a vLLM elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from PIL import Image

from server.engine.protocol import Answer, ModelCard, Prompt, Question, Sampling, Written
from server.engine.remote.address import Address
from server.engine.remote.dialect import OWN_FIELDS, Dialect, user_turn
from server.engine.remote.endpoint import ChatEndpoint, RefusedError
from server.engine.remote.negotiation import PROBE_WORDS, Terms, negotiate, origin_of
from server.engine.remote.pictures import PictureEncoding
from server.engine.remote.reading import (
    check_options,
    read_first_word,
    read_logprobs,
    read_written,
)
from server.engine.remote.retries import Patience
from server.engine.remote.wire import Completion
from server.errors import EngineError, EngineStartError, EngineUnavailableError

_Asked = TypeVar("_Asked")
_Given = TypeVar("_Given")


@dataclass(frozen=True, slots=True)
class _Session:
    """Everything that exists only between `start` and `stop`."""

    endpoint: ChatEndpoint
    terms: Terms
    slots: asyncio.Semaphore
    # One thread: pictures that several questions share may still be lazy, and a lazy picture must
    # not be loaded by two threads at once.
    encoder: ThreadPoolExecutor
    origins: set[str] = field(default_factory=set)


class RemoteEngine:
    """Asks `model` at `base_url` (e.g. ``https://api.example/v1``); an `Engine` and `BatchEngine`.

    `api_key` is sent as a bearer token. At most `max_concurrency` requests are in flight, whoever
    asks. `needs_pictures=False` is for models that read words alone, such as a judge of texts.
    `logprobs=False` reads first words even where probabilities are offered; `text_max_tokens`
    bounds the answer whose first word is read, thinking included where a model can't be kept from
    it. `extra_body` joins every request, e.g. ``{"reasoning_effort": "none"}`` or
    ``{"chat_template_kwargs": {"enable_thinking": False}}``. `trust_env` lets proxies and
    certificates come from the environment. `probe_timeout_s` bounds `ready`.

    Raises `ValueError` for numbers below 1 and for an `extra_body` that sets what the engine sets.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_concurrency: int = 8,
        patience: Patience | None = None,
        pictures: PictureEncoding | None = None,
        needs_pictures: bool = True,
        logprobs: bool = True,
        text_max_tokens: int = 16,
        extra_body: Mapping[str, Any] | None = None,
        trust_env: bool = False,
        probe_timeout_s: float = 10.0,
    ) -> None:
        if max_concurrency < 1 or text_max_tokens < 1:
            raise ValueError("max_concurrency and text_max_tokens must be at least 1")
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._max_concurrency = max_concurrency
        self._patience = Patience() if patience is None else patience
        self._pictures = PictureEncoding() if pictures is None else pictures
        self._needs_pictures = needs_pictures
        self._wants_logprobs = logprobs
        self._text_max_tokens = text_max_tokens
        self._extra_body = dict(extra_body or {})
        if taken := sorted(OWN_FIELDS & self._extra_body.keys()):
            raise ValueError(f"extra_body sets what the engine sets: {', '.join(taken)}")
        self._trust_env = trust_env
        self._probe_timeout_s = probe_timeout_s
        self._lifecycle = asyncio.Lock()
        self._session: _Session | None = None
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._card: ModelCard | None = None
        self._terms: Terms | None = None

    @property
    def card(self) -> ModelCard:
        """The model that is asked; its version is 12 hexadecimal digits, a colon and the facts.

        The facts are `Terms.facts`, e.g. ``model=gpt-4o-2024-08-06,answers=logprobs``; the digits
        are their hash. It stays the same until `stop`. Raises `EngineUnavailableError` before the
        first `start`.
        """
        if self._card is None:
            raise EngineUnavailableError("the engine was not started")
        return self._card

    @property
    def has_logprobs(self) -> bool:
        """Whether answers are read from probabilities; otherwise from the first word.

        Raises `EngineUnavailableError` before the first `start`.
        """
        if self._terms is None:
            raise EngineUnavailableError("the engine was not started")
        return self._terms.dialect.has_logprobs

    @property
    def origins(self) -> tuple[str, ...]:
        """Every ``model@fingerprint`` that answers named since `start`, sorted.

        More than one: the endpoint changed what it runs while it was asked.
        """
        return () if self._session is None else tuple(sorted(self._session.origins))

    async def start(self) -> None:
        """Ask two tiny questions, which settle what the endpoint takes; at once when started.

        Raises `EngineStartError`: wrong address, key or model name, no pictures, no words.
        """
        async with self._lifecycle:
            if self._session is not None:
                return
            endpoint = ChatEndpoint(
                Address.parse(self._base_url, self._api_key),
                self._model,
                patience=self._patience,
                max_connections=self._max_concurrency,
                trust_env=self._trust_env,
            )
            try:
                terms = await negotiate(
                    endpoint,
                    self._model,
                    dialect=Dialect() if self._wants_logprobs else Dialect(top_logprobs=None),
                    pictures=self._pictures if self._needs_pictures else None,
                    text_max_tokens=self._text_max_tokens,
                    extra_body=self._extra_body,
                )
            except EngineError as error:
                await endpoint.aclose()
                raise EngineStartError(f"{self._model} can't be asked: {error}") from None
            except BaseException:
                await endpoint.aclose()
                raise
            self._terms = terms
            self._card = ModelCard(id=self._model, version=terms.version, has_recognition=False)
            self._session = _Session(
                endpoint=endpoint,
                terms=terms,
                slots=asyncio.Semaphore(self._max_concurrency),
                encoder=ThreadPoolExecutor(1, thread_name_prefix="picture-encoder"),
                origins={terms.origin},
            )

    async def stop(self) -> None:
        """Close every connection; questions in flight end with `EngineUnavailableError`."""
        async with self._lifecycle:
            session, self._session = self._session, None
            in_flight = tuple(self._in_flight)
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)
            if session is not None:
                session.encoder.shutdown(wait=False, cancel_futures=True)
                await session.endpoint.aclose()

    async def ready(self) -> bool:
        """Whether the endpoint lists its models within `probe_timeout_s`: a question costs money.

        An endpoint that has no such list is asked a question in words.
        """
        session = self._session
        if session is None:
            return False
        try:
            async with asyncio.timeout(self._probe_timeout_s):
                if session.terms.lists_models:
                    return await session.endpoint.list_models() is not None
                await self.ask(Question(text=PROBE_WORDS, options=("yes", "no")))
        except (EngineError, TimeoutError):
            return False
        return True

    async def ask(self, question: Question) -> Answer:
        """Answer one question.

        Raises `EngineUnavailableError` when nothing can be asked (stopped, no connection, retries
        used up, key refused), `QuestionTooLongError`, `UnusableAnswerError` for a question that the
        endpoint or its content filter turned down, and `ValueError` for options that can't be told
        apart.
        """
        check_options(question.options)
        return await self._until_stopped(lambda session: self._answer(session, question))

    async def ask_all(self, questions: Sequence[Question]) -> list[Answer | EngineError]:
        """The one-token answers, in the questions' order, `max_concurrency` at a time.

        Cancelling cancels all. Raises `EngineUnavailableError` and `ValueError` as `ask` does.
        """
        for question in questions:
            check_options(question.options)
        return await self._each(questions, self.ask)

    async def write_all(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        """The written answers, in the prompts' order, `max_concurrency` at a time.

        How far a seed makes an answer reproducible is the endpoint's affair. Cancelling cancels
        all. Raises `EngineUnavailableError`.
        """

        async def write(prompt: Prompt) -> Written:
            return await self._until_stopped(lambda session: self._write(session, prompt, sampling))

        return await self._each(prompts, write)

    async def _answer(self, session: _Session, question: Question) -> Answer:
        dialect = session.terms.dialect
        settings = dialect.settings(
            max_tokens=1 if dialect.has_logprobs else self._text_max_tokens,
            temperature=0.0,
            wants_logprobs=True,
        )
        completion = await self._complete(session, question.text, question.image, settings)
        read = read_logprobs if dialect.has_logprobs else read_first_word
        return read(completion, question.options)

    async def _write(self, session: _Session, prompt: Prompt, sampling: Sampling) -> Written:
        settings = session.terms.dialect.settings(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=prompt.seed,
        )
        return read_written(await self._complete(session, prompt.text, prompt.image, settings))

    async def _complete(
        self,
        session: _Session,
        text: str,
        image: Image.Image | None,
        settings: Mapping[str, Any],
    ) -> Completion:
        # A question that waits for its next try keeps its slot: an endpoint that asks to be left
        # alone is not asked by the others instead.
        async with session.slots:
            part = None
            if image is not None:
                part = await asyncio.get_running_loop().run_in_executor(
                    session.encoder, self._pictures.part, image
                )
            fields = {**self._extra_body, **settings, "messages": user_turn(text, part)}
            try:
                completion = await session.endpoint.complete(fields)
            except RefusedError as error:
                raise error.refusal.as_engine_error() from None
        session.origins.add(origin_of(completion))
        return completion

    async def _until_stopped(self, act: Callable[[_Session], Awaitable[_Given]]) -> _Given:
        session = self._session
        if session is None:
            raise EngineUnavailableError("the engine is not started")
        task = asyncio.ensure_future(act(session))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise EngineUnavailableError("the engine was stopped") from None

    async def _each(
        self, items: Sequence[_Asked], act: Callable[[_Asked], Awaitable[_Given]]
    ) -> list[_Given | EngineError]:
        results: dict[int, _Given | EngineError] = {}
        numbered = iter(enumerate(items))

        async def work() -> None:
            for index, item in numbered:
                try:
                    results[index] = await act(item)
                except EngineUnavailableError:
                    raise
                except EngineError as error:
                    results[index] = error

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._max_concurrency, len(items))):
                    workers.create_task(work())
        except ExceptionGroup as failures:
            # The others were cancelled: nobody is left to read their answers.
            raise failures.exceptions[0] from None
        return [results[index] for index in range(len(items))]
