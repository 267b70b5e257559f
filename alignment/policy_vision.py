"""How a base sees pictures while its tower is frozen: each picture goes through the tower once.

Three ways, decided by the model itself:

- *Tower features*: the reference VLM takes features that `alignment.features` cached on disk (or a
  picture, which goes through its tower here).
- *Encoder outputs*: a model whose forward takes `mm_encoder_outputs` (nearly every one in
  transformers 5: LLaVA, Qwen2-VL to Qwen3-VL, InternVL, SmolVLM, Gemma 3) gets what its own
  `get_image_features` gave, and works out placeholders and positions as ever.
- *Pixels*: any other model, or one told to, sees pixels again in every pass.

A picture goes through the tower alone: in company its features would differ in the last bits with
the company, and a resumed run, whose memory is empty, would no longer repeat.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from alignment.policy_base import PolicyBase
from alignment.policy_config import PolicyConfig
from alignment.policy_errors import PictureKindError
from alignment.policy_inputs import EncodedPrompt, PaddedBatch
from alignment.prompts import AlignmentPrompt
from server.vlm.config import IMAGE_TOKEN
from server.vlm.pixels import to_pixels

Picture = Image.Image | Tensor
"""A picture, or for the reference VLM its tower features (G * G, C)."""

PictureReader = Callable[[str, int], Picture]
"""Gives a view of an example by (example id, view); `FeatureReader.read` is one."""


class Vision(Protocol):
    """Encodes prompts for one base and runs its body on them."""

    def encode(self, prompt: AlignmentPrompt, pictures: PictureReader) -> EncodedPrompt:
        """One prompt with its picture."""
        ...

    def inputs(self, batch: PaddedBatch) -> dict[str, Any]:
        """What `generate` takes."""
        ...

    def hidden(self, batch: PaddedBatch) -> Tensor:
        """Last hidden states (B, T, H)."""
        ...


def vision_of(base: PolicyBase, config: PolicyConfig) -> Vision:
    """The way this base sees."""
    return ReferenceVision(base) if base.is_reference_vlm else AutoVision(base, config)


class ReferenceVision:
    """The reference VLM, on cached tower features."""

    def __init__(self, base: PolicyBase) -> None:
        self._base, self._model = base, base.model

    def encode(self, prompt: AlignmentPrompt, pictures: PictureReader) -> EncodedPrompt:
        """Tokenize; placeholders stand for all positions of the picture."""
        has_picture = prompt.example_id is not None
        text = self._base.renderer.prompt(prompt.text, with_image=has_picture)
        text = text.replace(IMAGE_TOKEN, IMAGE_TOKEN * self._model.config.image_positions)
        ids = self._base.tokenizer.encode(text, add_special_tokens=False)
        input_ids = torch.tensor(ids, device=self._model.device)
        if prompt.example_id is None:
            return EncodedPrompt(input_ids)
        picture = pictures(prompt.example_id, prompt.view)
        return EncodedPrompt(input_ids, per_picture={"tower_features": self._features(picture)})

    def inputs(self, batch: PaddedBatch) -> dict[str, Any]:
        """Ids, mask and tower features."""
        return {
            "input_ids": batch.input_ids_BT,
            "attention_mask": batch.attention_mask_BT,
            **batch.per_picture(),
        }

    def hidden(self, batch: PaddedBatch) -> Tensor:
        """The Llama body on words and projected features."""
        embeddings = self._model.embed_inputs(batch.input_ids_BT, **batch.per_picture())
        hidden: Tensor = self._model.language_model.model(
            inputs_embeds=embeddings,
            attention_mask=batch.attention_mask_BT,
            position_ids=batch.position_ids_BT,
            use_cache=False,
        ).last_hidden_state
        return hidden

    @torch.no_grad()
    def _features(self, picture: Picture) -> Tensor:
        if isinstance(picture, Tensor):
            return picture[None].to(self._model.device)
        features: Tensor = self._model.embedder.tower(
            to_pixels(picture)[None].to(self._model.device)
        )
        return features


class AutoVision:
    """Any other model, by what its own vision part gives or by pixels."""

    def __init__(self, base: PolicyBase, config: PolicyConfig) -> None:
        self._base, self._model = base, base.model
        self._body = base.model.base_model
        takes_outputs = "mm_encoder_outputs" in inspect.signature(self._model.forward).parameters
        self._kept = _Kept(config.kept_features_bytes)
        self._keeps = config.keep_features and takes_outputs
        self._encoder_takes = set(inspect.signature(self._body.get_image_features).parameters)
        # Multi-axis positions are the model's to work out, from the pictures' shapes.
        self._has_own_positions = hasattr(self._body, "get_rope_index")

    def encode(self, prompt: AlignmentPrompt, pictures: PictureReader) -> EncodedPrompt:
        """Run the processor, and the tower where its output is kept."""
        text = self._base.renderer.prompt(prompt.text, with_image=prompt.example_id is not None)
        picture = None
        if prompt.example_id is not None:
            picture = pictures(prompt.example_id, prompt.view)
            if isinstance(picture, Tensor):
                raise PictureKindError(self._base.name)
        inputs = self._base.processor(
            text=[text],
            images=None if picture is None else [[picture]],
            return_tensors="pt",
            add_special_tokens=not self._base.renderer.starts_with_bos(text),
        ).to(self._model.device, self._model.dtype)
        input_ids = inputs.pop("input_ids")
        inputs.pop("attention_mask", None)
        per_token = {
            name: inputs.pop(name)[0] for name in [*inputs] if inputs[name].shape == input_ids.shape
        }
        if picture is None:
            return EncodedPrompt(input_ids[0], per_token)
        per_picture = dict(inputs)
        seen = None
        if self._keeps:
            seen = self._kept.get_or_make(
                (prompt.example_id, prompt.view), lambda: self._see(per_picture)
            )
        if seen is not None:
            per_picture = {k: v for k, v in per_picture.items() if not k.startswith("pixel")}
        return EncodedPrompt(input_ids[0], per_token, per_picture, seen)

    def inputs(self, batch: PaddedBatch) -> dict[str, Any]:
        """Ids, mask, the processor's further inputs, and pixels or what the tower made of them."""
        inputs: dict[str, Any] = {
            "input_ids": batch.input_ids_BT,
            "attention_mask": batch.attention_mask_BT,
            **batch.per_token,
            **batch.per_picture(),
        }
        seen = [prompt.seen for prompt in batch.prompts if prompt.seen is not None]
        if seen:
            # A new dict a pass: models write into it.
            inputs["mm_encoder_outputs"] = {"image": _join(seen)}
        return inputs

    def hidden(self, batch: PaddedBatch) -> Tensor:
        """The body's last hidden states."""
        inputs = self.inputs(batch)
        if not self._has_own_positions:
            inputs["position_ids"] = batch.position_ids_BT
        hidden: Tensor = self._body(**inputs, use_cache=False).last_hidden_state
        return hidden

    @torch.no_grad()
    def _see(self, per_picture: Mapping[str, Tensor]) -> "_Seen | None":
        """What the tower makes of one picture; None where its parts are of no known kind."""
        known = {name: value for name, value in per_picture.items() if name in self._encoder_takes}
        output = self._body.get_image_features(**known, return_dict=True)
        deepstack = getattr(output, "deepstack_features", None)
        parts = [output.pooler_output, *(deepstack or ())]
        if not all(isinstance(p, Tensor) or _are_tensors(p) for p in parts):
            return None
        return _Seen(type(output), parts[0], tuple(parts[1:]))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture's encoder output: one tensor or several; `deepstack` likewise, a layer each."""

    kind: type
    pooled: Any
    deepstack: tuple[Any, ...]

    @property
    def size_bytes(self) -> int:
        return sum(t.nbytes for part in (self.pooled, *self.deepstack) for t in part)


class _Kept:
    """What the tower made of pictures, the last used ones, up to a size."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._seen: OrderedDict[object, _Seen] = OrderedDict()

    def get_or_make(self, key: object, make: Callable[[], _Seen | None]) -> _Seen | None:
        if key in self._seen:
            self._seen.move_to_end(key)
            return self._seen[key]
        seen = make()
        if seen is not None:
            self._seen[key] = seen
            self._bytes += seen.size_bytes
            while self._bytes > self._limit_bytes:
                self._bytes -= self._seen.popitem(last=False)[1].size_bytes
        return seen


def _join(seen: list[_Seen]) -> Any:
    """Several pictures' outputs as the encoder would give them for all."""
    joined = {"pooler_output": _join_parts([one.pooled for one in seen])}
    if seen[0].deepstack:
        layers = zip(*(one.deepstack for one in seen), strict=True)
        joined["deepstack_features"] = [_join_parts(list(layer)) for layer in layers]
    return seen[0].kind(**joined)


def _join_parts(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [tensor for part in parts for tensor in part]


def _are_tensors(part: object) -> bool:
    return isinstance(part, list | tuple) and all(isinstance(one, Tensor) for one in part)
