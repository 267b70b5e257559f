"""Recipes: functions that return a complete, frozen configuration. Pick one, override a few fields.

The reference VLM is made in two supervised stages; alignment comes after them.
"""

from dataclasses import dataclass
from typing import Literal

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of the reference VLM is a choice; see `server.vlm.config`."""

    grid: int
    safety_tokens: int
    recognition_hidden: int


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters on the language model's linear layers."""

    r: int
    alpha: int
    targets: tuple[str, ...] = LORA_TARGETS


@dataclass(frozen=True, slots=True)
class SupervisedRecipe:
    """One supervised stage, whole.

    `pictures_per_step` sequences of `turns_per_picture` turns and `word_sequences_per_step` of
    `turns_per_word_sequence` turns make a step. `views` augmented views of each picture are drawn
    from. `category_power` is the exponent on a category's size in the sampling weight of its
    pictures: 1 leaves the data as it is, 0 gives every category the same share.
    """

    name: str
    stage: Literal["pretrain", "instruct"]
    seed: int
    shape: ModelShape
    lora: Lora | None
    steps: int
    pictures_per_step: int
    turns_per_picture: int
    word_sequences_per_step: int
    turns_per_word_sequence: int
    views: int
    category_power: float
    lr: float
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    recognition_weight: float
    save_every: int


_REFERENCE_SHAPE = ModelShape(grid=4, safety_tokens=4, recognition_hidden=256)


def reference_pretrain() -> SupervisedRecipe:
    """Stage 1 of the reference VLM: the projector and the safety tokens learn captions."""
    return SupervisedRecipe(
        name="reference-pretrain",
        stage="pretrain",
        seed=2024,
        shape=_REFERENCE_SHAPE,
        lora=None,
        steps=240,
        pictures_per_step=24,
        turns_per_picture=1,
        word_sequences_per_step=0,
        turns_per_word_sequence=0,
        views=7,
        category_power=0.5,
        lr=2e-3,
        warmup_steps=20,
        weight_decay=0.01,
        max_grad_norm=1.0,
        recognition_weight=0.0,
        save_every=50,
    )


def reference_instruct() -> SupervisedRecipe:
    """Stage 2 of the reference VLM: instructions, judging words, and recognition.

    LoRA of rank 16 on every linear layer keeps the committed delta near 10 MB.
    """
    return SupervisedRecipe(
        name="reference-instruct",
        stage="instruct",
        seed=2024,
        shape=_REFERENCE_SHAPE,
        lora=Lora(r=16, alpha=32),
        steps=800,
        pictures_per_step=16,
        turns_per_picture=2,
        word_sequences_per_step=4,
        turns_per_word_sequence=3,
        views=7,
        category_power=0.5,
        lr=6e-4,
        warmup_steps=30,
        weight_decay=0.01,
        max_grad_norm=1.0,
        recognition_weight=1.0,
        save_every=100,
    )
