"""The engine that serves a VLM in this process with vLLM.

One question costs one prefill and one token: the first token's probabilities of the options, and
of the model's recognition rows where it has them, come back from the same forward pass. vLLM
batches whatever is asked at the same time. A measurement asks whole lists instead, reproducibly,
and may ask for written answers.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from server.engine import heap
from server.engine.answer_reading import AnswerReading
from server.engine.answer_tokens import AnswerTokens
from server.engine.control_tokens import ControlTokens
from server.engine.conversation import Chat, Piece, gathered
from server.engine.model_calibration import calibration_of
from server.engine.model_source import adapted_version, find_model
from server.engine.prompts import PromptBuilder
from server.engine.protocol import (
    Answer,
    Engine,
    ModelCard,
    Prompt,
    Question,
    Sampling,
    Written,
)
from server.engine.recognition import RecognitionRows
from server.engine.risk_rows import RiskRows
from server.engine.vllm_batch import BatchRequest, run_together
from server.engine.vllm_chat import answer_pieces
from server.engine.vllm_loading import (
    LoadedModel,
    LoadOptions,
    check_further_adapter,
    load_model,
    shut_down,
)
from server.engine.vllm_requests import (
    first_token_logprobs,
    many_tokens,
    one_token,
    refusals,
    written,
)
from server.errors import (
    EngineError,
    EngineStartError,
    EngineUnavailableError,
    PictureLimitError,
    SeedError,
    UnusableAnswerError,
)

Given = TypeVar("Given")
Result = TypeVar("Result")

# What every model must be able to say in one token: the judgement, and as many letters as the
# longest list of options takes (a category of ten concepts, and "none of these").
_REQUIRED_OPTIONS = (("yes", "no"), tuple("ABCDEFGHIJK"))

_PROBE_TEXT = "Is this picture one plain colour? Answer with yes or no."
_PROBE_SIZE = (64, 64)
_MAX_KEPT_READINGS = 256
_WATCH_INTERVAL_S = 0.2
_OWN_ADAPTER = 1
"""vLLM's number for the adapter that the engine was started with."""


@dataclass(frozen=True, slots=True)
class _Serving:
    """Everything that exists only while a model is loaded.

    `max_seeded_tokens` is how many prompt tokens one forward pass may sample from with seeds (None:
    any number; see `vllm_batch`).
    """

    llm: Any
    prompts: PromptBuilder
    answer_tokens: AnswerTokens
    rows: RecognitionRows | None
    risk_rows: RiskRows | None
    readings: dict[tuple[str, ...], AnswerReading]
    max_seeded_tokens: int | None
    bare_version: str
    max_adapters: int

    def reading(self, options: tuple[str, ...]) -> AnswerReading:
        reading = self.readings.get(options)
        if reading is None:
            reading = AnswerReading(self.answer_tokens.of_all(options), self.rows, self.risk_rows)
            if len(self.readings) < _MAX_KEPT_READINGS:
                self.readings[options] = reading
        return reading


class VllmEngine:
    """Serves `model`, a checkpoint folder or a hub id, with vLLM; implements `Engine`, `Mortal`,
    `Writer`, `Adaptable` and `BatchEngine`.

    `adapter`, `caches`, `dtype`, `max_model_len`, `max_pictures`, `revision`, `further_adapters`
    and `max_adapter_rank` are `LoadOptions`. `name` is the id on the card (default: the hub id or
    the folder's name). `probe_timeout_s` bounds `ready`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapter: str | Path | None = None,
        caches: bool = True,
        dtype: str | None = None,
        max_model_len: int | None = None,
        revision: str | None = None,
        max_pictures: int = 1,
        name: str | None = None,
        probe_timeout_s: float = 10.0,
        further_adapters: int = 0,
        max_adapter_rank: int = 64,
    ) -> None:
        self._model = model
        self._options = LoadOptions(
            adapter=None if adapter is None else Path(adapter).expanduser(),
            caches=caches,
            dtype=dtype,
            max_model_len=max_model_len,
            max_pictures=max_pictures,
            revision=revision,
            further_adapters=further_adapters,
            max_adapter_rank=max_adapter_rank,
        )
        self._max_pictures = max_pictures
        self._name = name
        self._probe_timeout_s = probe_timeout_s
        self._probe_shade = itertools.count()
        self._request_number = itertools.count()
        self._lifecycle = asyncio.Lock()
        self._serving: _Serving | None = None
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._batch_turn = asyncio.Lock()
        self._card: ModelCard | None = None
        # An id is never used again: vLLM may still hold what it knew an adapter by.
        self._adapter_number = itertools.count(_OWN_ADAPTER + 1)
        self._adapters: set[int] = set()

    @property
    def card(self) -> ModelCard:
        """The model that is served. Raises `EngineUnavailableError` before the first `start`."""
        if self._card is None:
            raise EngineUnavailableError("the engine was not started")
        return self._card

    async def start(self) -> None:
        """Load the model and have it answer one question; returns at once when already started.

        The event loop stays free meanwhile. Raises `EngineStartError`.
        """
        async with self._lifecycle:
            if self._serving is not None:
                return
            source = find_model(self._model)
            calibration = calibration_of(source, self._options.adapter)
            loading = asyncio.ensure_future(asyncio.to_thread(load_model, source, self._options))
            try:
                loaded = await asyncio.shield(loading)
            except asyncio.CancelledError:
                # The thread can't be interrupted: what it brings is released when it comes.
                loading.add_done_callback(_release_abandoned)
                raise
            try:
                serving = await asyncio.to_thread(_prepare, loaded)
                await self._answer(serving, self.probe(), self._lora_request())
                await asyncio.to_thread(heap.settle)
            except EngineError as error:
                await shut_down(loaded.llm)
                raise EngineStartError(f"{source.name} can't be asked: {error}") from error
            except BaseException:
                await shut_down(loaded.llm)
                raise
            self._card = ModelCard(
                id=self._name or self._label(source.label),
                version=loaded.version,
                has_recognition=serving.rows is not None,
                calibration=calibration,
                risk_types=() if serving.risk_rows is None else tuple(serving.risk_rows.types),
            )
            self._serving = serving

    async def stop(self) -> None:
        """Release the model; questions in flight end with `EngineUnavailableError`."""
        async with self._lifecycle:
            serving, self._serving = self._serving, None
            in_flight = tuple(self._in_flight)
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)
            if serving is not None:
                self._adapters.clear()
                await shut_down(serving.llm)
                # vLLM's objects refer to each other: without this they outlive the engine.
                del serving
                await asyncio.to_thread(heap.release)

    async def ready(self) -> bool:
        """Whether a question about a picture is answered right now, within `probe_timeout_s`."""
        try:
            async with asyncio.timeout(self._probe_timeout_s):
                await self.ask(self.probe())
        except (EngineError, TimeoutError):
            return False
        return True

    async def died(self) -> str:
        """Wait until vLLM's engine process is gone or gave up; for ever on a stopped engine.

        vLLM's own watch over the process sets a flag and calls nobody, so the flag is looked at.
        """
        while self._serving is None or not self._serving.llm.errored:  # noqa: ASYNC110
            await asyncio.sleep(_WATCH_INTERVAL_S)
        return "vLLM's engine process died"

    async def ask(self, question: Question) -> Answer:
        """Answer one question; questions asked concurrently share forward passes.

        Cancelling the caller takes the question out of vLLM's queue. Raises
        `EngineUnavailableError` when stopped or dead, `QuestionTooLongError`,
        `OptionWithoutTokenError`, `TooManyAnswerTokensError` and `UnusableAnswerError`.
        """
        return await self.ask_with(self._lora_request(), question)

    async def ask_with(self, lora: Any, question: Question) -> Answer:
        """As `ask`, with an adapter (a `vllm.lora.request.LoRARequest`) or without any (None)."""
        return await self._until_stopped(self._answer(self._started(), question, lora))

    async def write(self, chat: Chat, sampling: Sampling) -> Written:
        """The whole answer to a conversation; as `stream`."""
        return await gathered(self.stream(chat, sampling))

    async def stream(self, chat: Chat, sampling: Sampling) -> AsyncGenerator[Piece]:
        """A conversation's answer, piece by piece, batched with whatever else is asked.

        Closing it takes the request out of vLLM. Raises as `ask`, and `ConversationError`,
        `PictureLimitError`, and `SeedError` on a CPU, where a seeded request kills vLLM if its
        prompt is split over two passes, which any other caller's prompt may bring about.
        """
        async with aclosing(self.stream_with(self._lora_request(), chat, sampling)) as pieces:
            async for piece in pieces:
                yield piece

    async def stream_with(self, lora: Any, chat: Chat, sampling: Sampling) -> AsyncGenerator[Piece]:
        """As `stream`, with an adapter (a `vllm.lora.request.LoRARequest`) or without any."""
        serving = self._started()
        if chat.seed is not None and sampling.temperature > 0.0 and serving.max_seeded_tokens:
            raise SeedError
        if len(chat.images) > self._max_pictures:
            raise PictureLimitError(limit=self._max_pictures, got=len(chat.images))
        request_id = self._request_id()
        pieces = answer_pieces(serving.llm, serving.prompts, chat, sampling, request_id, lora)
        async with aclosing(pieces):
            while self._serving is serving:
                # A task each, so that `stop` finds something to end while vLLM is waited for.
                one = await self._until_stopped(anext(pieces, None))
                if one is None:
                    return
                yield one
        raise EngineUnavailableError("the engine was stopped")

    def adapted(self, adapter: Path, *, name: str) -> Engine:
        """The same weights with another adapter: see `Adaptable`. GPU only."""
        serving = self._started()
        check_further_adapter(adapter, self._options, max_adapters=serving.max_adapters)
        from server.engine.vllm_adapter import AdaptedVllmEngine

        return AdaptedVllmEngine(self, adapter, name=name)

    async def add_adapter(self, adapter: Path, name: str) -> Any:
        """Load an adapter into vLLM; the `LoRARequest` to ask with. Raises `EngineStartError`."""
        from vllm.lora.request import LoRARequest

        serving = self._started()
        if len(self._adapters) >= self._options.further_adapters:
            raise EngineStartError(
                f"{len(self._adapters)} further adapters are loaded, as many as the engine was "
                "started for (SIGHTWARD_LIVE_ADAPTERS); unload one first"
            )
        lora = LoRARequest(
            lora_name=name, lora_int_id=next(self._adapter_number), lora_path=str(adapter)
        )
        self._adapters.add(lora.lora_int_id)
        try:
            is_loaded = await serving.llm.add_lora(lora)
        except Exception as error:
            self._adapters.discard(lora.lora_int_id)
            raise EngineStartError(f"vLLM can't load the adapter {name}: {error}") from error
        if not is_loaded:
            self._adapters.discard(lora.lora_int_id)
            raise EngineStartError(f"vLLM did not load the adapter {name}")
        return lora

    async def drop_adapter(self, lora: Any) -> None:
        """Take an adapter out of vLLM; nothing where the engine was stopped or died meanwhile."""
        if lora.lora_int_id not in self._adapters:
            return
        self._adapters.discard(lora.lora_int_id)
        if self._serving is not None and not self._serving.llm.errored:
            await self._serving.llm.remove_lora(lora.lora_int_id)

    def adapted_card(self, adapter: Path, name: str) -> ModelCard:
        """The card of this engine's model with an adapter in its own one's place."""
        bare = self._started().bare_version
        return replace(
            self.card,
            id=name,
            version=adapted_version(bare, adapter),
            calibration=calibration_of(find_model(self._model), adapter),
        )

    async def ask_all(self, questions: Sequence[Question]) -> list[Answer | EngineError]:
        """The one-token answers to a whole list, reproducibly (see `vllm_batch`).

        Nothing may be asked with `ask` meanwhile: it would join the batch. An error of `ask` that
        belongs to one question stands in its place. Raises `EngineUnavailableError`.
        """
        return await self._until_stopped(self._ask_all(self._started(), questions))

    async def write_all(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        """The written answers to a whole list, reproducibly; as `ask_all`."""
        return await self._until_stopped(self._write_all(self._started(), prompts, sampling))

    def _started(self) -> _Serving:
        if self._serving is None:
            raise EngineUnavailableError("the engine is not started")
        return self._serving

    async def _until_stopped(self, work: Awaitable[Result]) -> Result:
        """Do `work` as a task that `stop` ends; raises `EngineUnavailableError` when it does."""
        task = asyncio.ensure_future(work)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise EngineUnavailableError("the engine was stopped") from None

    async def _answer(self, serving: _Serving, question: Question, lora: Any) -> Answer:
        from vllm.v1.engine.exceptions import EngineDeadError

        reading = serving.reading(question.options)
        try:
            output = await self._output(serving, question, reading.token_ids, lora)
            return reading.read(first_token_logprobs(output))
        except EngineDeadError as error:
            raise EngineUnavailableError("vLLM's engine process died") from error
        except refusals() as error:
            raise UnusableAnswerError(f"vLLM refused the question: {error}") from error

    async def _output(
        self, serving: _Serving, question: Question, token_ids: Sequence[int], lora: Any
    ) -> Any:
        """vLLM's finished output for one token with the log-probabilities of `token_ids`."""
        outputs = serving.llm.generate(
            await serving.prompts.engine_input(question.text, question.image),
            one_token(token_ids),
            request_id=self._request_id(),
            lora_request=lora,
        )
        async with aclosing(outputs):
            async for output in outputs:
                final = output
        return final

    async def _ask_all(
        self, serving: _Serving, questions: Sequence[Question]
    ) -> list[Answer | EngineError]:
        readings = [_caught(serving.reading, question.options) for question in questions]
        asked = [
            self._request(serving, question.text, question.image, one_token(reading.token_ids))
            for question, reading in zip(questions, readings, strict=True)
            if not isinstance(reading, EngineError)
        ]
        outputs = iter(await self._run_together(serving, asked))

        def answer(reading: AnswerReading) -> Answer | EngineError:
            output = next(outputs)
            if isinstance(output, EngineError):
                return output
            return _caught(reading.read, first_token_logprobs(output))

        return [one if isinstance(one, EngineError) else answer(one) for one in readings]

    async def _write_all(
        self, serving: _Serving, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        requests = [
            self._request(serving, one.text, one.image, many_tokens(sampling, one.seed))
            for one in prompts
        ]
        limit = serving.max_seeded_tokens if sampling.temperature > 0.0 else None
        outputs = await self._run_together(serving, requests, max_prefill_tokens=limit)
        return [one if isinstance(one, EngineError) else written(one) for one in outputs]

    async def _run_together(
        self,
        serving: _Serving,
        requests: Sequence[BatchRequest],
        *,
        max_prefill_tokens: int | None = None,
    ) -> list[Any | EngineError]:
        from vllm.v1.engine.exceptions import EngineDeadError

        async with self._batch_turn:
            try:
                ended = await run_together(
                    serving.llm,
                    requests,
                    returned=(EngineError, *refusals()),
                    max_prefill_tokens=max_prefill_tokens,
                )
            except EngineDeadError as error:
                raise EngineUnavailableError("vLLM's engine process died") from error
        return [
            UnusableAnswerError(f"vLLM refused the question: {one}")
            if isinstance(one, Exception) and not isinstance(one, EngineError)
            else one
            for one in ended
        ]

    def _request(
        self, serving: _Serving, text: str, image: Image.Image | None, sampling: Any
    ) -> BatchRequest:
        return BatchRequest(
            id=self._request_id(),
            render=partial(serving.prompts.engine_input, text, image),
            sampling=sampling,
            lora=self._lora_request(),
        )

    def _request_id(self) -> str:
        return f"question-{next(self._request_number)}"

    def _lora_request(self) -> Any:
        adapter = self._options.adapter
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest(lora_name=adapter.name, lora_int_id=_OWN_ADAPTER, lora_path=str(adapter))

    def _label(self, model_label: str) -> str:
        adapter = self._options.adapter
        return model_label if adapter is None else f"{model_label}+{adapter.name}"

    def probe(self) -> Question:
        """A question about a picture of one colour."""
        # A shade not seen lately, so that no cache answers for the tower.
        shade = next(self._probe_shade)
        colour = (shade % 256, shade // 256 % 256, shade // 65536 % 256)
        picture = Image.new("RGB", _PROBE_SIZE, colour)
        return Question(text=_PROBE_TEXT, options=("yes", "no"), image=picture)


def _caught(read: Callable[[Given], Result], given: Given) -> Result | EngineError:
    """What `read` gives, or the error that belongs to this question alone."""
    try:
        return read(given)
    except EngineError as error:
        return error


def _prepare(loaded: LoadedModel) -> _Serving:
    """Read what the loaded model needs to be asked; raises `EngineError` when it can't be."""
    from vllm.model_executor.model_loader import get_model_cls
    from vllm.platforms import current_platform

    llm = loaded.llm
    config = llm.model_config
    tokenizer = llm.get_tokenizer()
    placeholder = get_model_cls(config).get_placeholder_str("image", 1)
    try:
        rows = RecognitionRows.from_config(getattr(config.hf_config, "recognition_token_ids", None))
        risk_rows = RiskRows.from_config(getattr(config.hf_config, "safety_token_ids", None))
    except ValueError as error:
        raise EngineStartError(str(error)) from error
    serving = _Serving(
        llm=llm,
        prompts=PromptBuilder(
            llm.renderer,
            ControlTokens(tokenizer, *([placeholder] if placeholder else [])),
            max_tokens=config.max_model_len,
        ),
        answer_tokens=AnswerTokens(tokenizer),
        rows=rows,
        risk_rows=risk_rows,
        readings={},
        max_seeded_tokens=(
            llm.vllm_config.scheduler_config.max_num_batched_tokens
            if current_platform.is_cpu()
            else None
        ),
        bare_version=loaded.bare_version,
        max_adapters=loaded.max_adapters,
    )
    for options in _REQUIRED_OPTIONS:
        serving.reading(options)
    return serving


def _release_abandoned(loading: "asyncio.Future[LoadedModel]") -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().llm.shutdown()
