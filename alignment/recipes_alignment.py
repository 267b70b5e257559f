"""Recipes of [S1]'s two baselines, SFT and DPO: functions that return complete, frozen configs.

`s1_*` are the paper's settings for LLaVA-1.5-7B on one large GPU, `reference_*` the same methods at
a size that two CPU cores finish. Prompts come from the sampler that PPO draws from, in its order.
"""

from dataclasses import dataclass

from alignment.policy_config import LoraShape
from alignment.prompt_sampler import PromptMix


@dataclass(frozen=True, slots=True)
class BaselineRecipe:
    """What SFT and DPO have in common: a low-rank adapter on the language model, all else frozen.

    A step learns from `mix.total` prompts, `micro_batch_size` of them (a divisor) a forward pass;
    DPO runs two sequences a prompt. Pictures are shown in `views` augmented views. The learning
    rate rises over `warmup_steps`, then falls to zero along a cosine. Sequences are padded to a
    multiple of `length_multiple`. A checkpoint is written every `save_every` steps.
    """

    name: str
    seed: int
    lora: LoraShape
    steps: int
    mix: PromptMix
    views: int
    micro_batch_size: int
    lr: float
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: bool
    length_multiple: int
    save_every: int

    def __post_init__(self) -> None:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} is no divisor of the "
                f"{self.batch_size} prompts of a step"
            )

    @property
    def batch_size(self) -> int:
        """Prompts that a step learns from."""
        return self.mix.total


@dataclass(frozen=True, slots=True)
class SftRecipe(BaselineRecipe):
    """Supervised fine-tuning on written targets; the loss is over the answer alone."""


@dataclass(frozen=True, slots=True)
class DpoRecipe(BaselineRecipe):
    """Direct preference optimisation.

    `beta` weighs the distance from the reference, which is the base with the adapter off. Dropout
    stays off while it trains, as TRL has it: the two must differ by the adapter alone.
    """

    beta: float


# 4 epochs over 1,222 unsafe and as many safe train pictures, in steps of 32.
_S1_STEPS = 305
_S1_LORA = LoraShape(r=128, alpha=256, dropout=0.05)
# Dropout would cost a sixth of a step on a CPU.
REFERENCE_LORA = LoraShape(r=8, alpha=16, from_layer=15)
"""The reference VLM's adapter in every method: the upper 15 of its 30 layers."""
# Divisible by the group size of the methods that compare answers to one prompt.
REFERENCE_MIX = PromptMix(pictures=24, words=4, general=4, open_share=0.5)
"""What a step of every method asks the reference VLM."""
REFERENCE_STEPS = 24


def s1_sft() -> SftRecipe:
    """[S1]'s SFT: lr 3e-5, 4 epochs, batch 32, LoRA 128/256/.05.

    It leaves schedule, weight decay and clipping open; those of its PPO are taken.
    """
    return SftRecipe(
        name="s1-sft",
        seed=2024,
        lora=_S1_LORA,
        steps=_S1_STEPS,
        mix=PromptMix(pictures=32, open_share=1.0),
        views=1,
        micro_batch_size=8,
        lr=3e-5,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=True,
        length_multiple=8,
        save_every=50,
    )


def s1_dpo() -> DpoRecipe:
    """[S1]'s DPO: lr 2e-6, beta 0.1, 4 epochs, batch 32, LoRA 128/256; the rest as in `s1_sft`."""
    return DpoRecipe(
        name="s1-dpo",
        seed=2024,
        lora=_S1_LORA,
        steps=_S1_STEPS,
        mix=PromptMix(pictures=32, open_share=1.0),
        views=1,
        micro_batch_size=4,
        lr=2e-6,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=True,
        length_multiple=8,
        save_every=50,
        beta=0.1,
    )


def reference_sft() -> SftRecipe:
    """SFT of the reference VLM on two CPU cores, on pictures and words alike.

    With PPO's learning rate so few steps hardly moved it: its answers are new to the base.
    """
    return SftRecipe(
        name="reference-sft",
        seed=2024,
        lora=REFERENCE_LORA,
        steps=REFERENCE_STEPS,
        mix=REFERENCE_MIX,
        views=8,
        micro_batch_size=8,
        lr=2e-3,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        length_multiple=32,
        save_every=8,
    )


def reference_dpo() -> DpoRecipe:
    """DPO of the reference VLM on two CPU cores, on pictures and words alike.

    Half the steps of the others, since each prompt has two answers to read: as many answers.
    """
    return DpoRecipe(
        name="reference-dpo",
        seed=2024,
        lora=REFERENCE_LORA,
        steps=REFERENCE_STEPS // 2,
        mix=REFERENCE_MIX,
        views=8,
        micro_batch_size=4,
        lr=1e-3,
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        length_multiple=32,
        save_every=8,
        beta=0.1,
    )
