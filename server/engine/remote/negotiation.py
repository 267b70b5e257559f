"""Finding out, before the first real question, how an endpoint must be asked and what it runs.

Two tiny questions: one as all one-token questions are put, one as all written answers are. What is
refused is given up one by one, and the rest of the run keeps to what was found.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from server.engine.protocol import Sampling
from server.engine.remote.dialect import Dialect, user_turn
from server.engine.remote.endpoint import ChatEndpoint, RefusedError
from server.engine.remote.pictures import PictureEncoding
from server.engine.remote.reading import counted_tokens, has_logprobs, is_cut
from server.engine.remote.wire import Completion, ModelList
from server.errors import EngineError, EngineStartError

PROBE_WORDS = "Is snow white? Answer with yes or no."
_PROBE_PICTURE_WORDS = "Is this picture one plain colour? Answer with yes or no."
# Some models take no picture with a side below their patch.
_PROBE_SIZE = (64, 64)

_MAX_NAMED_MODELS = 8


@dataclass(frozen=True, slots=True)
class Terms:
    """What was found out.

    `facts` say what the answers depend on beside the model's name; `version` is their hash, a colon
    and the facts themselves. `origin` is what answered.
    """

    dialect: Dialect
    lists_models: bool
    facts: tuple[str, ...]
    version: str
    origin: str


@dataclass(frozen=True, slots=True)
class _Settled:
    completion: Completion
    dialect: Dialect


async def negotiate(
    endpoint: ChatEndpoint,
    model: str,
    *,
    dialect: Dialect,
    pictures: PictureEncoding | None,
    text_max_tokens: int,
    extra_body: Mapping[str, Any],
) -> Terms:
    """Settle on `dialect` or what remains of it; `pictures` is None for words alone.

    Raises `EngineError` when the model can't be asked.
    """
    probes = _Probes(endpoint, pictures, text_max_tokens, extra_body)
    listed = await endpoint.list_models()
    try:
        answered = await probes.settle_answers(dialect)
        written = await _settle(probes.write, answered.dialect)
    except RefusedError as error:
        reason = str(error.refusal.as_engine_error())
        raise EngineStartError(reason + _offer(listed, model)) from None
    except EngineError as error:
        raise EngineStartError(f"{error}{_offer(listed, model)}") from None
    facts = _facts(answered.completion, written, _root(listed, model), model=model)
    if pictures is not None and pictures.label:
        facts = (*facts, f"pictures={pictures.label}")
    if extra_body:
        # Values only go into the hash: they may be private.
        facts = (*facts, f"extra={'+'.join(sorted(extra_body))}")
    return Terms(
        dialect=written.dialect,
        lists_models=listed is not None,
        facts=facts,
        version=f"{_digest(model, facts, extra_body)}:{','.join(facts)}",
        origin=origin_of(answered.completion),
    )


def origin_of(completion: Completion) -> str:
    """``model@fingerprint`` as an answer names them; a question mark for what it does not name."""
    return f"{completion.model or '?'}@{completion.system_fingerprint or '?'}"


class _Probes:
    """The two tiny questions."""

    def __init__(
        self,
        endpoint: ChatEndpoint,
        pictures: PictureEncoding | None,
        text_max_tokens: int,
        extra_body: Mapping[str, Any],
    ) -> None:
        self._endpoint = endpoint
        self._text_max_tokens = text_max_tokens
        self._extra_body = extra_body
        self._picture = (
            None if pictures is None else pictures.part(Image.new("RGB", _PROBE_SIZE, "steelblue"))
        )

    async def settle_answers(self, dialect: Dialect) -> _Settled:
        """How one-token questions are put, with or without probabilities."""
        if dialect.has_logprobs:
            try:
                settled = await _settle(self.ask, dialect)
            except RefusedError:
                # One token may be too few for it, which is said in a hundred ways.
                pass
            else:
                if has_logprobs(settled.completion):
                    return settled
                dialect = settled.dialect
        try:
            settled = await _settle(self.ask, dialect.without_logprobs())
        except RefusedError as error:
            if self._picture is None or not await self._is_answered_without_picture(dialect):
                raise
            raise EngineStartError(f"it takes no pictures: {error.refusal.message}") from None
        message = settled.completion.choice.message
        if not (message.content or message.refusal):
            hint = (
                ": a model that thinks first needs more of them, or not to think"
                if is_cut(settled.completion)
                else ""
            )
            raise EngineStartError(
                f"its answer of at most {self._text_max_tokens} tokens holds no words{hint}"
            )
        return settled

    async def ask(self, dialect: Dialect) -> Completion:
        """Put the question as one-token questions are put."""
        settings = dialect.settings(
            max_tokens=1 if dialect.has_logprobs else self._text_max_tokens,
            temperature=0.0,
            wants_logprobs=True,
        )
        words = PROBE_WORDS if self._picture is None else _PROBE_PICTURE_WORDS
        return await self._complete(settings, words, self._picture)

    async def write(self, dialect: Dialect) -> Completion:
        """Ask for a few words as written answers are asked for."""
        sampling = Sampling()
        settings = dialect.settings(
            max_tokens=self._text_max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=0,
        )
        return await self._complete(settings, PROBE_WORDS, None)

    async def _is_answered_without_picture(self, dialect: Dialect) -> bool:
        try:
            await _settle(self.write, dialect)
        except (RefusedError, EngineError):
            return False
        return True

    async def _complete(
        self, settings: Mapping[str, Any], words: str, picture: Mapping[str, Any] | None
    ) -> Completion:
        return await self._endpoint.complete(
            {**self._extra_body, **settings, "messages": user_turn(words, picture)}
        )


async def _settle(probe: Callable[[Dialect], Awaitable[Completion]], dialect: Dialect) -> _Settled:
    """The first answer, giving up what is refused; raises the `RefusedError` that names nothing."""
    while True:
        try:
            return _Settled(await probe(dialect), dialect)
        except RefusedError as error:
            adapted = dialect.adapted_to(error.refusal)
            if adapted is None:
                raise
            dialect = adapted


def _facts(
    answered: Completion, written: _Settled, root: str | None, *, model: str
) -> tuple[str, ...]:
    dialect = written.dialect
    facts = []
    if answered.model and answered.model != model:
        facts.append(f"model={answered.model}")
    if root is not None:
        facts.append(f"root={root}")
    if answered.system_fingerprint:
        facts.append(f"fingerprint={answered.system_fingerprint}")
    answers = "first-word" if dialect.top_logprobs is None else f"top-{dialect.top_logprobs}"
    facts.append(f"answers={answers}")
    if dialect.left_out:
        facts.append(f"without={'+'.join(sorted(dialect.left_out))}")
    if counted_tokens(written.completion) is None:
        facts.append("tokens=words")
    return tuple(facts)


def _root(listed: ModelList | None, model: str) -> str | None:
    """What the list says is behind the model's name, where that is another name.

    Of a folder only its own name: where it lies on that machine is nobody's business. `created` is
    left aside: vLLM gives the time of the request there.
    """
    for entry in () if listed is None else listed.data:
        if entry.id == model and entry.root and entry.root != model:
            is_folder = entry.root.startswith("/")
            return entry.root.rstrip("/").rsplit("/", 1)[-1] if is_folder else entry.root
    return None


def _offer(listed: ModelList | None, model: str) -> str:
    """The names to choose from, where `model` is none of them."""
    names = [] if listed is None else [entry.id for entry in listed.data]
    if not names or model in names:
        return ""
    shown = names[:_MAX_NAMED_MODELS]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"; it lists {', '.join(shown)}{more}"


def _digest(model: str, facts: tuple[str, ...], extra_body: Mapping[str, Any]) -> str:
    everything = json.dumps([model, facts, extra_body], sort_keys=True, default=str)
    return hashlib.sha256(everything.encode()).hexdigest()[:12]
