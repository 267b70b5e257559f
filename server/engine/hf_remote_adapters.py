"""Adapters for models whose interface is code of their own: CogVLM and InternLM-XComposer2.

Their published code has no processor: CogVLM builds its inputs with
`model.build_conversation_input_ids`, InternLM-XComposer2 with `model.interleav_wrap_chat` and
`model.build_inputs`, the two steps inside its `model.chat`. Both hand their key-value cache back as
they please, so answers are written here, token by token, through `prepare_inputs_for_generation`
and `forward` alone: that needs nothing of the `generate` of whichever transformers is installed.
Pictures and words of one question at a time: neither pads a batch.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from server.engine.control_tokens import ControlTokens
from server.engine.hf_adapters import Encoded, Item
from server.engine.hf_sampling import RowSampler
from server.errors import EngineStartError

_XCOMPOSER_IMAGE = "<ImageHere>"
_XCOMPOSER_START = "[UNUSED_TOKEN_146]"
_XCOMPOSER_END = "[UNUSED_TOKEN_145]"


class _OneByOne(ABC):
    """What both have in common: the loop over questions, and over a question's tokens.

    `extra_end_ids` end an answer beside what the checkpoint's configuration says.
    """

    def __init__(self, model: Any, tokenizer: Any, controls: ControlTokens) -> None:
        self.tokenizer = tokenizer
        self.extra_end_ids: frozenset[int] = frozenset()
        self._model = model
        self._controls = controls

    def encode(self, items: Sequence[Item]) -> Encoded:
        """The questions' inputs, one by one."""
        each = [self._encode_one(item) for item in items]
        return Encoded(lengths=tuple(length for length, _ in each), inputs=[i for _, i in each])

    def first_logits(self, encoded: Encoded) -> Tensor:
        """Logits (B, V) of each answer's first token."""
        return torch.stack([self._step(dict(inputs), None)[0] for inputs in encoded.inputs])

    def write(self, encoded: Encoded, sampler: RowSampler) -> None:
        """Write the answers one after the other."""
        for row, inputs in enumerate(encoded.inputs):
            self._write_one(dict(inputs), sampler.row(row))

    def _write_one(self, state: dict[str, Any], sampler: RowSampler) -> None:
        cache = None
        while not sampler.is_done:
            logits, cache = self._step(state, cache)
            state = self._extended(state, sampler.pick(logits[None]))

    def _step(self, state: Mapping[str, Any], cache: Any) -> tuple[Tensor, Any]:
        """One forward pass: the next token's logits (V,) and the cache to go on with."""
        inputs = self._model.prepare_inputs_for_generation(
            **state, past_key_values=cache, use_cache=True
        )
        output = self._model(**inputs, return_dict=True)
        return output.logits[0, -1].float(), output.past_key_values

    @abstractmethod
    def _encode_one(self, item: Item) -> tuple[int, dict[str, Any]]:
        """One question's prompt tokens and inputs, the picture's included."""

    def _extended(self, state: dict[str, Any], picked: Tensor) -> dict[str, Any]:
        """The state with one more token (1,) and its place in the attention mask."""
        device = state["attention_mask"].device
        token = picked.to(device)[:, None]
        mask = state["attention_mask"]
        return {
            **state,
            "input_ids": torch.cat([state["input_ids"], token], dim=1),
            "attention_mask": torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1),
        }


class CogVlmAdapter(_OneByOne):
    """CogVLM: ``Question: ... Answer:``, the picture's tokens before it."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer, ControlTokens(tokenizer))

    def prompt(self, text: str, *, with_image: bool) -> str:
        """The chat template of CogVLM; its code puts the picture before it, unmarked."""
        del with_image
        return f"Question: {self._controls.defuse(text)} Answer:"

    def _encode_one(self, item: Item) -> tuple[int, dict[str, Any]]:
        built = self._model.build_conversation_input_ids(
            self.tokenizer,
            query=self._controls.defuse(item.text),
            history=[],
            images=None if item.image is None else [item.image],
            template_version="chat",
        )
        device = self._model.device
        inputs: dict[str, Any] = {
            name: built[name][None].to(device)
            for name in ("input_ids", "token_type_ids", "attention_mask")
        }
        if item.image is not None:
            inputs["images"] = [[built["images"][0].to(device, self._model.dtype)]]
        return inputs["input_ids"].shape[1], inputs

    def _extended(self, state: dict[str, Any], picked: Tensor) -> dict[str, Any]:
        extended = super()._extended(state, picked)
        kinds = state["token_type_ids"]
        # 0 is a word, 1 a picture's position; what is written is words.
        extended["token_type_ids"] = torch.cat([kinds, torch.zeros_like(kinds[:, :1])], dim=1)
        return extended


class XComposer2Adapter(_OneByOne):
    """InternLM-XComposer2-VL: ``<ImageHere>`` before the question, its own system prompt above."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        marks = (_XCOMPOSER_IMAGE, _XCOMPOSER_START, _XCOMPOSER_END)
        super().__init__(model, tokenizer, ControlTokens(tokenizer, *marks))
        self.extra_end_ids = frozenset({int(tokenizer.convert_tokens_to_ids(_XCOMPOSER_END))})
        # The system prompt is a default value in the model's own code, and nowhere else.
        parameter = inspect.signature(model.chat).parameters.get("meta_instruction")
        self._system = "" if parameter is None else str(parameter.default)

    def prompt(self, text: str, *, with_image: bool) -> str:
        """The chat format of InternLM-XComposer2 as its code writes it."""
        system = f"{_XCOMPOSER_START}system\n{self._system}{_XCOMPOSER_END}\n"
        query = self._query(text, with_image=with_image)
        return (
            f"{system if self._system else ''}{_XCOMPOSER_START}user\n{query}{_XCOMPOSER_END}\n"
            f"{_XCOMPOSER_START}assistant\n"
        )

    def _query(self, text: str, *, with_image: bool) -> str:
        return (_XCOMPOSER_IMAGE if with_image else "") + self._controls.defuse(text)

    def _encode_one(self, item: Item) -> tuple[int, dict[str, Any]]:
        device = self._model.device
        query = self._query(item.text, with_image=item.image is not None)
        if item.image is None:
            built = self._model.build_inputs(self.tokenizer, query, [], self._system)
            input_ids = built["input_ids"].to(device)
            return input_ids.shape[1], {
                "input_ids": input_ids,
                "attention_mask": torch.ones_like(input_ids),
                "im_mask": torch.zeros_like(input_ids, dtype=torch.bool),
            }
        pixels = self._model.vis_processor(item.image)[None].to(device, self._model.dtype)
        seen = self._model.encode_img(pixels)
        built, im_mask = self._model.interleav_wrap_chat(
            self.tokenizer, query, seen, [], self._system
        )
        embeds = built["inputs_embeds"]
        length = embeds.shape[1]
        return length, {
            "input_ids": torch.empty((1, 0), dtype=torch.long, device=device),
            "inputs_embeds": embeds,
            "attention_mask": torch.ones((1, length), dtype=torch.long, device=device),
            "im_mask": im_mask,
        }


def own_adapter(model: Any, tokenizer: Any) -> CogVlmAdapter | XComposer2Adapter:
    """The adapter for a model without a processor, told by the methods that it has.

    Raises `EngineStartError` when it has none that is known.
    """
    if hasattr(model, "build_conversation_input_ids"):
        return CogVlmAdapter(model, tokenizer)
    if hasattr(model, "interleav_wrap_chat"):
        return XComposer2Adapter(model, tokenizer)
    raise EngineStartError(
        f"{type(model).__name__} has neither a processor nor an interface that is known here"
    )
