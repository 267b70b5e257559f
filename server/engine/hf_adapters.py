"""Asking a model in transformers: prompt, inputs, first-token logits and written answers.

`AutoAdapter` covers every model that has a processor. Models whose interface is code of their own
have adapters in `hf_remote_adapters`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from server.engine.hf_prompts import PromptRenderer
from server.engine.hf_sampling import RowSampler


@dataclass(frozen=True, slots=True)
class Item:
    """One user turn: words, and a picture or none."""

    text: str
    image: Image.Image | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch as its adapter wants it; `lengths` are prompt tokens, the picture's included."""

    lengths: tuple[int, ...]
    inputs: Any


class Adapter(Protocol):
    """One loaded model. A batch is either all with pictures or all without."""

    tokenizer: Any

    def prompt(self, text: str, *, with_image: bool) -> str:
        """The prompt as text, the picture's place marked as the model marks it."""
        ...

    def encode(self, items: Sequence[Item]) -> Encoded:
        """The batch's inputs; raises `ValueError` or `EngineError` when one is refused."""
        ...

    def first_logits(self, encoded: Encoded) -> Tensor:
        """Logits (B, V) of each answer's first token."""
        ...

    def write(self, encoded: Encoded, sampler: RowSampler) -> None:
        """Write answers; `sampler` picks and keeps the tokens."""
        ...


class AutoAdapter:
    """A model and processor from transformers' Auto classes.

    `end_ids` end an answer. The model's own generation settings (penalties, top-k) are set aside:
    how an answer is drawn is the measurement's to say, and the same for every model.
    """

    def __init__(
        self, model: Any, processor: Any, renderer: PromptRenderer, end_ids: frozenset[int]
    ) -> None:
        from transformers import GenerationConfig

        self.tokenizer = processor.tokenizer
        self._model = model
        self._processor = processor
        self._renderer = renderer
        plain = GenerationConfig(
            eos_token_id=sorted(end_ids) or None,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
        )
        # A model that wraps another generates through it, with that one's settings.
        for module in model.modules():
            if getattr(module, "generation_config", None) is not None:
                module.generation_config = plain

    def prompt(self, text: str, *, with_image: bool) -> str:
        """The prompt by the checkpoint's template or its family's format."""
        return self._renderer.prompt(text, with_image=with_image)

    def encode(self, items: Sequence[Item]) -> Encoded:
        """Inputs (B, T) padded on the left, on the model's device."""
        prompts = [self.prompt(item.text, with_image=item.image is not None) for item in items]
        pictures = [[item.image] for item in items if item.image is not None]
        inputs = self._processor(
            text=prompts,
            images=pictures or None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=not self._renderer.starts_with_bos(prompts[0]),
        )
        if "qformer_input_ids" in inputs:
            inputs.update(self._qformer_inputs(prompts))
        return Encoded(
            lengths=tuple(inputs["attention_mask"].sum(dim=-1).tolist()),
            inputs=inputs.to(self._model.device, self._model.dtype),
        )

    def first_logits(self, encoded: Encoded) -> Tensor:
        """Logits (B, V) in float32; one forward pass."""
        seen: list[Tensor] = []

        def keep(_input_ids: Tensor, scores_BV: Tensor) -> Tensor:  # noqa: N803
            seen.append(scores_BV)
            # The token that is generated is not looked at; it only must not stop on a NaN.
            return torch.nan_to_num(scores_BV)

        self._generate(encoded, keep, max_new_tokens=1)
        return seen[0]

    def write(self, encoded: Encoded, sampler: RowSampler) -> None:
        """Write the batch's answers with the model's own loop and cache."""
        self._generate(
            encoded, sampler.as_logits_processor(), max_new_tokens=sampler.max_new_tokens
        )

    def _generate(self, encoded: Encoded, processor: Any, *, max_new_tokens: int) -> None:
        # `generate` rather than `forward`: it knows each model's positions, masks and cache.
        self._model.generate(
            **encoded.inputs,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            logits_processor=[processor],
        )

    def _qformer_inputs(self, prompts: list[str]) -> dict[str, Tensor]:
        """The question for a Q-Former, padded on the right: it counts positions from the left."""
        read = self._processor.qformer_tokenizer(
            prompts, padding=True, padding_side="right", return_tensors="pt"
        )
        return {
            "qformer_input_ids": read["input_ids"],
            "qformer_attention_mask": read["attention_mask"],
        }
