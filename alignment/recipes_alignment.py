"""Recipes of [S1]'s two baselines, SFT and DPO: functions that return complete, frozen configs.

`s1_*` are the paper's settings for LLaVA-1.5-7B on one large GPU, `reference_*` the same methods at
a size that two CPU cores finish. Where the paper states nothing the comment says what we took.
"""

from dataclasses import dataclass
from typing import Literal

from alignment.recipes import LORA_TARGETS

DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class LanguageLora:
    """A low-rank adapter on the linear layers of the language model; all else stays frozen."""

    r: int
    alpha: int
    dropout: float
    targets: tuple[str, ...] = LORA_TARGETS


@dataclass(frozen=True, slots=True)
class BaselineRecipe:
    """What SFT and DPO have in common.

    `batch_size` prompts make a step, `micro_batch_size` of them (a divisor) one forward pass; DPO
    runs two sequences a prompt. Training ends after `epochs` passes over the prompts, or after
    `steps` steps where that is given. The learning rate rises over `warmup_steps` and then falls to
    zero along a cosine. `dtype` is the frozen weights'; the adapter's are float32. Sequences are
    padded to a multiple of `length_multiple`.
    """

    name: str
    seed: int
    lora: LanguageLora
    epochs: int
    steps: int | None
    batch_size: int
    micro_batch_size: int
    lr: float
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    dtype: DType
    gradient_checkpointing: bool
    length_multiple: int
    save_every: int

    def __post_init__(self) -> None:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} is no divisor of "
                f"batch_size {self.batch_size}"
            )


@dataclass(frozen=True, slots=True)
class SftRecipe(BaselineRecipe):
    """Supervised fine-tuning on written targets; the loss is over the answer alone."""


@dataclass(frozen=True, slots=True)
class DpoRecipe(BaselineRecipe):
    """Direct preference optimisation; `beta` weighs the distance from the reference model."""

    beta: float


_S1_LORA = LanguageLora(r=128, alpha=256, dropout=0.05)
# S1's rank is a 32nd of its model's width of 4096; the same share of 576 would be 18.
_REFERENCE_LORA = LanguageLora(r=16, alpha=32, dropout=0.05)


def s1_sft() -> SftRecipe:
    """[S1]'s SFT: lr 3e-5, 4 epochs, batch 32, LoRA 128/256/.05.

    The paper leaves schedule, weight decay and clipping open: those of its PPO are taken.
    """
    return SftRecipe(
        name="s1-sft",
        seed=2024,
        lora=_S1_LORA,
        epochs=4,
        steps=None,
        batch_size=32,
        micro_batch_size=8,
        lr=3e-5,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        dtype="bfloat16",
        gradient_checkpointing=True,
        length_multiple=8,
        save_every=50,
    )


def s1_dpo() -> DpoRecipe:
    """[S1]'s DPO: lr 2e-6, beta 0.1, 4 epochs, batch 32, LoRA 128/256/.05.

    Dropout is off while DPO trains, as TRL does it: policy and reference must differ by the adapter
    alone.
    """
    return DpoRecipe(
        name="s1-dpo",
        seed=2024,
        lora=_S1_LORA,
        epochs=4,
        steps=None,
        batch_size=32,
        micro_batch_size=4,
        lr=2e-6,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        dtype="bfloat16",
        gradient_checkpointing=True,
        length_multiple=8,
        save_every=50,
        beta=0.1,
    )


def reference_sft() -> SftRecipe:
    """SFT of the reference VLM on two CPU cores."""
    return SftRecipe(
        name="reference-sft",
        seed=2024,
        lora=_REFERENCE_LORA,
        epochs=4,
        steps=None,
        batch_size=32,
        micro_batch_size=16,
        lr=3e-4,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        dtype="bfloat16",
        gradient_checkpointing=False,
        length_multiple=32,
        save_every=25,
    )


def reference_dpo() -> DpoRecipe:
    """DPO of the reference VLM on two CPU cores."""
    return DpoRecipe(
        name="reference-dpo",
        seed=2024,
        lora=_REFERENCE_LORA,
        epochs=4,
        steps=None,
        batch_size=32,
        micro_batch_size=8,
        lr=2e-5,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        dtype="bfloat16",
        gradient_checkpointing=False,
        length_multiple=32,
        save_every=25,
        beta=0.1,
    )
