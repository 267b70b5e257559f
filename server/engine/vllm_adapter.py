"""A second adapter on weights that vLLM has loaded: an engine of its own to whoever asks it.

vLLM batches requests with different adapters together, so it costs the adapter's own megabytes and
no second copy of the model.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.engine.conversation import Chat, Piece, gathered
from server.engine.protocol import Answer, ModelCard, Question, Sampling, Written
from server.errors import EngineError, EngineStartError, EngineUnavailableError

if TYPE_CHECKING:
    from server.engine.vllm_engine import VllmEngine

_PROBE_TIMEOUT_S = 10.0


class AdaptedVllmEngine:
    """`base`'s weights with `adapter`; implements `Engine`, `Mortal` and `Writer`.

    It dies with `base`, and stopping it leaves that as it is.
    """

    def __init__(self, base: "VllmEngine", adapter: Path, *, name: str) -> None:
        self._base = base
        self._adapter = adapter
        self._name = name
        self._lora: Any = None
        self._card: ModelCard | None = None

    @property
    def card(self) -> ModelCard:
        """The model with this adapter. Raises `EngineUnavailableError` before `start`."""
        if self._card is None:
            raise EngineUnavailableError("the engine was not started")
        return self._card

    async def start(self) -> None:
        """Load the adapter and have it answer one question. Raises `EngineStartError`."""
        if self._lora is not None:
            return
        lora = await self._base.add_adapter(self._adapter, self._name)
        try:
            await self._base.ask_with(lora, self._base.probe())
            self._card = await asyncio.to_thread(self._base.adapted_card, self._adapter, self._name)
        except EngineError as error:
            await self._base.drop_adapter(lora)
            raise EngineStartError(f"{self._name} can't be asked: {error}") from error
        except BaseException:
            await self._base.drop_adapter(lora)
            raise
        self._lora = lora

    async def stop(self) -> None:
        """Take the adapter out of vLLM; may be called twice."""
        lora, self._lora = self._lora, None
        if lora is not None:
            await self._base.drop_adapter(lora)

    async def ready(self) -> bool:
        """Whether a question about a picture is answered right now."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self.ask(self._base.probe())
        except (EngineError, TimeoutError):
            return False
        return True

    async def died(self) -> str:
        """Wait until the engine that holds the weights has died."""
        return await self._base.died()

    async def ask(self, question: Question) -> Answer:
        """As the base's."""
        return await self._base.ask_with(self._request(), question)

    async def write(self, chat: Chat, sampling: Sampling) -> Written:
        """The whole answer to a conversation; as `stream`."""
        return await gathered(self.stream(chat, sampling))

    async def stream(self, chat: Chat, sampling: Sampling) -> AsyncGenerator[Piece]:
        """As the base's."""
        pieces = self._base.stream_with(self._request(), chat, sampling)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    def _request(self) -> Any:
        if self._lora is None:
            raise EngineUnavailableError("the adapter is not loaded")
        return self._lora
