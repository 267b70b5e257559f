"""What a run needs at its worst moment, part by part, and which knob makes it less.

Two moments compete: *sampling* (every row of a step at once, with its key-value cache) and
*learning* (one pass of `micro_batch_size` rows, with all that backward needs). Beside both lie the
weights, what is trained, and pictures. Answers are taken to be as long as they may be. An estimate:
allocators round up and hold on to what they had, and kernels take workspace of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from alignment.memory.outline import (
    kept_for_backward,
    outline_of,
    parameter_bytes,
    weight_width,
)
from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape, PolicyConfig, Role
from alignment.policy_roles import Roles, adapter_of, add_adapters
from alignment.ppo_recipe import PpoRecipe
from alignment.recipes_alignment import BaselineRecipe, DpoRecipe

Knob = Literal["gradient_checkpointing", "micro_batch_size", "max_new_tokens", "lora_r"]
"""Settings that the command line can change too."""

# A judgement question in a chat template; those that ship take 30 to 60 tokens.
WORDS_POSITIONS = 64
# The answers of `alignment.targets`.
_TARGET_POSITIONS = 48
# Master, two moments and its own copy of the gradient in float32 (`alignment.optimizer`).
_MASTER_BYTES = 16
# TRL: a float32 adapter with gradient and two moments.
_TRL_BYTES = 16
# `alignment.token_scores` has this many tokens' logits at a time, in float32: logits, divided by
# the temperature, their log-softmax, its exponential, and three of their gradients.
_SCORED_TOKENS = 512
_SCORING_BYTES = 7 * 4
# A draw has a row's logits once in the model's precision, and in float32 and double as
# log-softmax, probabilities and their sums.
_DRAWING_BYTES = 2 + 2 * 4 + 3 * 8
# A process with torch, transformers, peft and trl loaded; on a GPU its context and kernels.
_RUNTIME_BYTES = {"cpu": 750 << 20, "gpu": 1 << 30}


_TURNS: Mapping[Knob, str] = {
    "gradient_checkpointing": "gradient_checkpointing",
    "micro_batch_size": "a smaller micro_batch_size",
    "max_new_tokens": "a smaller max_new_tokens",
    "lora_r": "a smaller lora_r",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one method lays out its passes; the same few numbers for PPO, SFT and DPO.

    `learn_rows` sequences of `learn_positions` go forward as each of `roles` before they go
    backward; `sample_rows` answers (0: none are sampled) of `sample_positions` are written
    together. `pictures` of `picture_positions` each are held for a step.
    """

    learn_rows: int
    learn_positions: int
    roles: tuple[Role, ...]
    sample_rows: int
    sample_positions: int
    pictures: int
    picture_positions: int
    gradient_checkpointing: bool
    kept_features_bytes: int

    @classmethod
    def of(
        cls,
        recipe: PpoRecipe | BaselineRecipe,
        picture_positions: int,
        *,
        is_reference_vlm: bool = False,
        processes: int = 1,
    ) -> "Layout":
        """What a recipe asks of one of `processes` when a picture takes `picture_positions`.

        The reference VLM's features lie on disk, so none are kept.
        """
        prompt = WORDS_POSITIONS + picture_positions
        if isinstance(recipe, PpoRecipe):
            pictures = (recipe.mix.pictures + recipe.mix.general) * recipe.group_size
            words = recipe.mix.words * recipe.group_size
            sampled = -(-max(pictures, words) // processes)
            length = _rounded(prompt + recipe.max_new_tokens, recipe.policy.length_multiple)
            return cls(
                learn_rows=recipe.micro_batch_size,
                learn_positions=length,
                roles=("policy", "value") if recipe.advantages == "gae" else ("policy",),
                sample_rows=sampled,
                sample_positions=length,
                pictures=pictures,
                picture_positions=picture_positions,
                gradient_checkpointing=recipe.policy.gradient_checkpointing,
                kept_features_bytes=(0 if is_reference_vlm else recipe.policy.kept_features_bytes),
            )
        length = _rounded(prompt + _TARGET_POSITIONS, recipe.length_multiple)
        return cls(
            # The preferred answer and its opposite.
            learn_rows=recipe.micro_batch_size * (2 if isinstance(recipe, DpoRecipe) else 1),
            learn_positions=length,
            roles=("policy",),
            sample_rows=0,
            sample_positions=0,
            pictures=recipe.micro_batch_size,
            picture_positions=picture_positions,
            gradient_checkpointing=recipe.gradient_checkpointing,
            kept_features_bytes=0,
        )


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of each part; `peak` is of the worse of the two moments."""

    weights: int
    trained: int
    pictures: int
    runtime: int
    activations: int
    scoring: int
    kv_cache: int
    drawing: int

    @property
    def learning(self) -> int:
        """What only learning needs."""
        return self.activations + self.scoring

    @property
    def sampling(self) -> int:
        """What only sampling needs."""
        return self.kv_cache + self.drawing

    @property
    def peak(self) -> int:
        """The most that is held at once."""
        resident = self.weights + self.trained + self.pictures + self.runtime
        return resident + max(self.learning, self.sampling)

    def knob(self, layout: Layout) -> Knob:
        """The setting whose change frees most."""
        if self.sampling > max(self.learning, self.trained):
            return "max_new_tokens"
        if self.learning > self.trained:
            if not layout.gradient_checkpointing:
                return "gradient_checkpointing"
            if layout.learn_rows > 1:
                return "micro_batch_size"
        return "lora_r"


def estimate(
    config: Any,
    recipe: PpoRecipe | BaselineRecipe,
    layout: Layout,
    *,
    name: str,
    dtype: str,
    on_gpu: bool,
) -> MemoryEstimate:
    """Estimate a run of `recipe`, laid out as `layout` says, on a model of this configuration.

    Raises PolicyModelError when the configuration is no such model or lacks the adapters' layers.
    """
    base = outline_of(config, name=name, dtype=dtype, on_gpu=on_gpu)
    weights = parameter_bytes(base.model.parameters())
    adapted, trained = _attach(base, recipe)
    itemsize = getattr(torch, dtype).itemsize
    width, text = weight_width(base), base.model.config.get_text_config()
    seen = layout.picture_positions * width * itemsize * (1 + _deepstack_layers(config))
    vocabulary = int(text.vocab_size)
    sampled = layout.sample_rows * layout.sample_positions
    return MemoryEstimate(
        weights=weights,
        trained=trained,
        pictures=layout.pictures * seen + layout.kept_features_bytes,
        runtime=_RUNTIME_BYTES["gpu" if on_gpu else "cpu"],
        activations=_activations(base, Roles(adapted), recipe, layout),
        scoring=_scored(layout) * vocabulary * _SCORING_BYTES,
        kv_cache=sampled * _cache_bytes(text, itemsize),
        drawing=layout.sample_rows * vocabulary * _DRAWING_BYTES,
    )


def with_less(estimated: MemoryEstimate, layout: Layout, free_bytes: int) -> str | None:
    """One line that names the knob when the peak is more than what is free; else None."""
    if estimated.peak <= free_bytes:
        return None
    if estimated.weights + estimated.runtime > free_bytes:
        return "the weights alone don't fit: take a smaller model, or spread it by FSDP"
    return f"more than is free: {_TURNS[estimated.knob(layout)]} frees most"


def _attach(base: PolicyBase, recipe: PpoRecipe | BaselineRecipe) -> tuple[Any, int]:
    """The outline with adapters, and the bytes of all that is trained and of its state."""
    with torch.device("meta"):
        if isinstance(recipe, PpoRecipe):
            adapted = add_adapters(base, recipe.policy)
            trained = [p for p in adapted.parameters() if p.requires_grad]
            numbers = sum(int(p.numel()) for p in trained)
            return adapted, 2 * parameter_bytes(trained) + _MASTER_BYTES * numbers
        # The policy's adapter stands for the only one there is.
        config = PolicyConfig(policy=recipe.lora, value=LoraShape(r=1, alpha=1))
        adapted = add_adapters(base, replace(config, adapter_dtype="float32"))
        numbers = sum(int(p.numel()) for p in adapter_of(adapted, "policy").values())
        return adapted, _TRL_BYTES * numbers


def _activations(
    base: PolicyBase, roles: Roles, recipe: PpoRecipe | BaselineRecipe, layout: Layout
) -> int:
    """What all passes keep for the way back, and one layer's gradients or second computation."""
    rows, positions = layout.learn_rows, layout.learn_positions
    inputs = rows * positions * weight_width(base) * next(base.model.parameters()).itemsize
    all_kept, largest_layer = 0, 0
    for role in layout.roles:
        with roles.taking(role):
            kept = kept_for_backward(base, rows=rows, positions=positions)
        # Layers below the first adapter keep nothing.
        layers = base.model.config.get_text_config().num_hidden_layers - _first(recipe, role)
        largest_layer = max(largest_layer, kept // layers)
        all_kept += layers * inputs if layout.gradient_checkpointing else kept
    return all_kept + largest_layer


def _first(recipe: PpoRecipe | BaselineRecipe, role: Role) -> int:
    if isinstance(recipe, PpoRecipe):
        shape = recipe.policy.value if role == "value" else recipe.policy.policy
        return shape.from_layer
    return recipe.lora.from_layer


def _scored(layout: Layout) -> int:
    return min(_SCORED_TOKENS, layout.learn_rows * layout.learn_positions)


def _cache_bytes(text: Any, itemsize: int) -> int:
    """Keys and values of one position in all layers."""
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * int(text.num_hidden_layers) * int(heads) * int(size) * itemsize


def _deepstack_layers(config: Any) -> int:
    vision = getattr(config, "vision_config", None)
    return len(getattr(vision, "deepstack_visual_indexes", None) or ())


def _rounded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
