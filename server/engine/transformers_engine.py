"""The engine that runs a VLM in this process with transformers, a batch at a time.

For measuring models that vLLM does not serve. A batch is one forward pass, padded on the left; the
first token's probabilities are over the whole vocabulary, as everywhere. The same list gets the
same answers, bit by bit: batches are cut from the list in its order, and nothing is kept.
"""

import asyncio
import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from server.engine.answer_reading import AnswerReading
from server.engine.answer_tokens import AnswerTokens
from server.engine.hf_adapters import Encoded, Item
from server.engine.hf_loading import HfOptions, LoadedHf, load_hf
from server.engine.hf_sampling import DrawnRow, RowSampler
from server.engine.model_source import ModelSource, find_model
from server.engine.protocol import Answer, ModelCard, Prompt, Question, Sampling, Written
from server.engine.recognition import RecognitionRows
from server.errors import (
    EngineError,
    EngineStartError,
    EngineUnavailableError,
    QuestionTooLongError,
    UnusableAnswerError,
)

# What every model must be able to say in one token, as for the engine on vLLM.
_REQUIRED_OPTIONS = (("yes", "no"), tuple("ABCDEFGHIJK"))
_PROBE_TEXT = "Is this picture one plain colour? Answer with yes or no."
_PROBE_SIZE = (64, 64)

_Result = TypeVar("_Result")
_Outcomes = list[_Result | EngineError]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Encoded items and where each stands in the whole list."""

    places: tuple[int, ...]
    encoded: Encoded


class TransformersEngine:
    """Runs `model`, a checkpoint folder or a hub id; implements `Engine` and `BatchEngine`.

    `batch_size` is how many questions share a forward pass at most. `name` is the id on the card
    (default: the hub id or the folder's name). `probe_timeout_s` bounds `ready`. The rest is
    `HfOptions`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapter: str | Path | None = None,
        batch_size: int = 8,
        device: str | None = None,
        dtype: str | None = None,
        max_model_len: int | None = None,
        name: str | None = None,
        revision: str | None = None,
        tokenizer: str | None = None,
        trust_remote_code: bool = False,
        probe_timeout_s: float = 60.0,
    ) -> None:
        self._model = model
        self._batch_size = batch_size
        self._options = HfOptions(
            adapter=None if adapter is None else Path(adapter).expanduser(),
            device=device,
            dtype=dtype,
            max_model_len=max_model_len,
            revision=revision,
            tokenizer=tokenizer,
            trust_remote_code=trust_remote_code,
        )
        self._name = name
        self._probe_timeout_s = probe_timeout_s
        self._lifecycle = asyncio.Lock()
        self._running: _Running | None = None
        self._card: ModelCard | None = None

    @property
    def card(self) -> ModelCard:
        """The model that is asked. Raises `EngineUnavailableError` before the first `start`."""
        if self._card is None:
            raise EngineUnavailableError("the engine was not started")
        return self._card

    async def start(self) -> None:
        """Load the model and have it answer one question; returns at once when already started.

        The event loop stays free meanwhile. Raises `EngineStartError`.
        """
        async with self._lifecycle:
            if self._running is not None:
                return
            source = find_model(self._model)
            # One thread: batches queue up in it, and the model is never used by two at once.
            thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transformers")
            loop = asyncio.get_running_loop()
            try:
                running = await loop.run_in_executor(thread, self._load, source, thread)
            except BaseException:
                thread.shutdown(wait=False)
                raise
            self._card = ModelCard(
                id=self._name or self._label(source),
                version=running.loaded.version,
                has_recognition=running.rows is not None,
            )
            self._running = running

    async def stop(self) -> None:
        """Release the model; a batch in flight ends with `EngineUnavailableError`."""
        async with self._lifecycle:
            running, self._running = self._running, None
            if running is None:
                return
            running.is_stopping = True
            await asyncio.to_thread(running.thread.shutdown, cancel_futures=True)
            del running
            await asyncio.to_thread(_free_memory)

    async def ready(self) -> bool:
        """Whether a question about a picture is answered right now, within `probe_timeout_s`."""
        try:
            async with asyncio.timeout(self._probe_timeout_s):
                await self.ask(_probe())
        except (EngineError, TimeoutError):
            return False
        return True

    async def ask(self, question: Question) -> Answer:
        """Answer one question. Raises `EngineUnavailableError` and what `ask_all` lists."""
        (answer,) = await self.ask_all([question])
        if isinstance(answer, EngineError):
            raise answer
        return answer

    async def ask_all(self, questions: Sequence[Question]) -> list[Answer | EngineError]:
        """The one-token answers, in the questions' order.

        In the list: `QuestionTooLongError`, `OptionWithoutTokenError`, `TooManyAnswerTokensError`,
        `UnusableAnswerError`. Raises `EngineUnavailableError`.
        """
        return await self._in_thread(lambda running: running.ask_all(tuple(questions)))

    async def write_all(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        """The written answers, in the prompts' order; the errors are those of `ask_all`."""
        return await self._in_thread(lambda running: running.write_all(tuple(prompts), sampling))

    async def _in_thread(self, work: "Callable[[_Running], _Result]") -> _Result:
        running = self._running
        if running is None:
            raise EngineUnavailableError("the engine is not started")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(running.thread, work, running)
        except asyncio.CancelledError:
            if running.is_stopping:
                raise EngineUnavailableError("the engine was stopped") from None
            raise
        except RuntimeError as error:
            if running.is_stopping:  # its thread takes no more work
                raise EngineUnavailableError("the engine was stopped") from error
            raise

    def _load(self, source: ModelSource, thread: ThreadPoolExecutor) -> "_Running":
        loaded = load_hf(source, self._options)
        try:
            running = _Running(loaded, thread, self._batch_size)
            for options in _REQUIRED_OPTIONS:
                running.reading(options)
            (answer,) = running.ask_all([_probe()])
            if isinstance(answer, EngineError):
                raise answer
        except EngineStartError:
            raise
        except EngineError as error:
            raise EngineStartError(f"{source.name} can't be asked: {error}") from error
        except Exception as error:
            # Code of the model's own may fail in any way; whoever started it needs one line.
            raise EngineStartError(
                f"{source.name} can't be asked: {type(error).__name__}: {error}"
            ) from error
        return running

    def _label(self, source: ModelSource) -> str:
        adapter = self._options.adapter
        return source.label if adapter is None else f"{source.label}+{adapter.name}"


class _Running:
    """A loaded model and the work on it; everything here runs in its one thread."""

    def __init__(self, loaded: LoadedHf, thread: ThreadPoolExecutor, batch_size: int) -> None:
        self.loaded = loaded
        self.thread = thread
        self.is_stopping = False
        self._batch_size = batch_size
        self._answer_tokens = AnswerTokens(loaded.adapter.tokenizer)
        try:
            self.rows = RecognitionRows.from_config(loaded.recognition_token_ids)
        except ValueError as error:
            raise EngineStartError(str(error)) from error

    def reading(self, options: tuple[str, ...]) -> AnswerReading:
        """How `options` are read; raises an `EngineError` when they can't be."""
        try:
            return AnswerReading(self._answer_tokens.of_all(options), self.rows)
        except ValueError as error:  # two options share a token
            raise UnusableAnswerError(str(error)) from error

    def ask_all(self, questions: Sequence[Question]) -> list[Answer | EngineError]:
        readings: dict[tuple[str, ...], AnswerReading | EngineError] = {}
        for options in dict.fromkeys(question.options for question in questions):
            try:
                readings[options] = self.reading(options)
            except EngineError as error:
                readings[options] = error
        outcomes = self._empty(questions)
        items: dict[int, Item] = {}
        for place, question in enumerate(questions):
            reading = readings[question.options]
            if isinstance(reading, EngineError):
                outcomes[place] = reading
            else:
                items[place] = Item(question.text, question.image)

        def read(batch: _Batch) -> None:
            logits = self.loaded.adapter.first_logits(batch.encoded)
            for place, row in zip(batch.places, logits, strict=True):
                reading = readings[questions[place].options]
                assert isinstance(reading, AnswerReading)  # noqa: S101 - told apart above
                outcomes[place] = _read(reading, row)

        self._work_through(items, outcomes, read)
        return outcomes

    def write_all(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        outcomes = self._empty(prompts)
        items = {place: Item(prompt.text, prompt.image) for place, prompt in enumerate(prompts)}

        def write(batch: _Batch) -> None:
            sampler = RowSampler(
                seeds=[prompts[place].seed for place in batch.places],
                limits=[self._room(length, sampling) for length in batch.encoded.lengths],
                sampling=sampling,
                end_ids=self.loaded.end_ids,
                before_pick=self._check_running,
            )
            self.loaded.adapter.write(batch.encoded, sampler)
            for place, drawn in zip(batch.places, sampler.drawn(), strict=True):
                outcomes[place] = self._written(drawn)

        self._work_through(items, outcomes, write)
        return outcomes

    def _work_through(
        self, items: dict[int, Item], outcomes: _Outcomes[Any], work: Callable[[_Batch], None]
    ) -> None:
        """Do `work` on batches of at most `batch_size`, all with pictures or all without.

        What can't be asked gets its error in `outcomes` and is in no batch. Raises
        `EngineUnavailableError` when stopped or out of memory.
        """
        import torch

        with_picture = [place for place, item in items.items() if item.image is not None]
        words_alone = [place for place, item in items.items() if item.image is None]
        try:
            with torch.inference_mode():
                for kind in (with_picture, words_alone):
                    for start in range(0, len(kind), self._batch_size):
                        self._check_running()
                        places = kind[start : start + self._batch_size]
                        batch = self._encode(places, items, outcomes)
                        if batch is not None:
                            work(batch)
        except torch.OutOfMemoryError as error:
            raise EngineUnavailableError(
                f"out of GPU memory with {self._batch_size} questions at once; "
                "give a smaller batch size"
            ) from error

    def _check_running(self) -> None:
        if self.is_stopping:
            raise EngineUnavailableError("the engine was stopped")

    def _encode(
        self, places: list[int], items: dict[int, Item], outcomes: _Outcomes[Any]
    ) -> _Batch | None:
        """The batch of what can be asked among `places`; None when nothing can."""
        encode = self.loaded.adapter.encode
        limit = self.loaded.max_tokens
        while places:
            try:
                encoded = encode([items[place] for place in places])
            except (ValueError, EngineError) as refusal:
                if len(places) == 1:
                    outcomes[places[0]] = _as_engine_error(refusal)
                    return None
                # One of them is at fault: each is tried alone.
                places = [
                    place for place in places if self._encode([place], items, outcomes) is not None
                ]
                continue
            too_long = [
                place
                for place, length in zip(places, encoded.lengths, strict=True)
                if limit is not None and length >= limit
            ]
            if not too_long:
                return _Batch(tuple(places), encoded)
            for place in too_long:
                outcomes[place] = QuestionTooLongError(limit or 0)
            places = [place for place in places if place not in too_long]
        return None

    def _room(self, length: int, sampling: Sampling) -> int:
        """How many tokens an answer may take after a prompt of `length`."""
        limit = self.loaded.max_tokens
        return sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - length)

    def _written(self, drawn: DrawnRow) -> Written | EngineError:
        if drawn.is_broken:
            return UnusableAnswerError("the model gave no probabilities for the next token")
        tokenizer = self.loaded.adapter.tokenizer
        return Written(
            text=tokenizer.decode(list(drawn.token_ids), skip_special_tokens=True),
            tokens=len(drawn.token_ids) + drawn.has_end,
            is_complete=drawn.has_end,
        )

    def _empty(self, asked: Sequence[object]) -> _Outcomes[Any]:
        return [UnusableAnswerError("nothing was answered") for _ in asked]


def _read(reading: AnswerReading, logits_V: Any) -> Answer | EngineError:  # noqa: N803
    import torch

    if max(reading.token_ids) >= len(logits_V):
        return UnusableAnswerError("the tokenizer has tokens that the model has no row for")
    logprobs = torch.log_softmax(logits_V.double(), dim=-1)
    ids = list(reading.token_ids)
    try:
        return reading.read(dict(zip(ids, logprobs[ids].tolist(), strict=True)))
    except EngineError as error:
        return error


def _as_engine_error(refusal: Exception) -> EngineError:
    if isinstance(refusal, EngineError):
        return refusal
    # A model's own processor refuses a picture, say for its aspect ratio.
    return UnusableAnswerError(f"the processor refused the question: {refusal}")


def _probe() -> Question:
    picture = Image.new("RGB", _PROBE_SIZE, (120, 120, 120))
    return Question(text=_PROBE_TEXT, options=("yes", "no"), image=picture)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
