"""PPO, SFT and DPO of an instruct VLM on one GPU, from its width alone.

What S1 found for LLaVA-1.5-7B is carried over to other sizes; where PPO differs from S1 it does so
as the reference VLM's recipe does, and for the reasons there. None of these was tuned: they are
where to start from.
"""

from collections.abc import Mapping
from typing import Any

from alignment.policy_config import LoraShape, PolicyConfig
from alignment.ppo_recipe import PpoRecipe
from alignment.prompt_sampler import PromptMix
from alignment.recipe_book.model_recipe import ModelRecipe
from alignment.recipes_alignment import DpoRecipe, SftRecipe
from alignment.reward_terms import default_reward

_S1_WIDTH = 4096
_SEED = 2024
_STEPS = 200
# 64 answers a step: S1's 32 pictures and a few, with words and general questions beside them, so
# that judging words and all else stay.
_MIX = PromptMix(pictures=40, words=16, general=8)


def instruct_recipe(
    name: str,
    *,
    title: str,
    model: str,
    licence: str,
    width: int,
    lora_r: int,
    micro_batch_size: int,
    gradient_checkpointing: bool,
    picture_positions: int,
    processor_options: Mapping[str, Any],
) -> ModelRecipe:
    """A whole recipe for a model whose language model is `width` wide.

    `micro_batch_size` answers share a pass (half of them in DPO, which runs two sequences a
    prompt); every model picks it, `lora_r` and `gradient_checkpointing` by its size.
    """
    # alpha / r stays S1's 2, so that a learning rate means the same at every rank.
    lora = LoraShape(r=lora_r, alpha=2 * lora_r)
    return ModelRecipe(
        name=name,
        title=title,
        model=model,
        licence=licence,
        picture_positions=picture_positions,
        processor_options=processor_options,
        ppo=PpoRecipe(
            name=f"{name}-ppo",
            seed=_SEED,
            policy=PolicyConfig(
                # No dropout, unlike S1: answers are scored without it when they are sampled, so
                # with it the first ratio would not be 1 but noise, and every layer's input would be
                # kept once more.
                policy=lora,
                # Values are a coarser thing to say than words: half the rank.
                value=LoraShape(r=lora_r // 2, alpha=lora_r),
                gradient_checkpointing=gradient_checkpointing,
                # A picture comes back only after thousands of others: what is kept of it would be
                # dropped before, and has no better use for GPU memory. Within a step each picture
                # still goes through the tower once.
                kept_features_bytes=0,
            ),
            mix=_MIX,
            views=7,
            steps=_STEPS,
            # S1's 512 are rarely used by an answer to yes or no, and the sampler's cache grows with
            # them.
            max_new_tokens=128,
            reward=default_reward(),
            kl_coef=0.05,
            # Two epochs, so that clipping has something to do.
            epochs=2,
            minibatch_size=32,
            micro_batch_size=micro_batch_size,
            lam=0.95,
            lr=_scaled(3e-5, width),
            # The value head begins at zero and has a scale to find: five times the policy's, as in
            # the reference VLM's recipe.
            value_lr=5 * _scaled(3e-5, width),
            warmup_steps=10,
        ),
        sft=SftRecipe(
            name=f"{name}-sft",
            seed=_SEED,
            lora=LoraShape(r=lora_r, alpha=2 * lora_r, dropout=0.05),
            steps=_STEPS,
            mix=_MIX,
            views=7,
            micro_batch_size=micro_batch_size,
            lr=_scaled(3e-5, width),
            warmup_steps=10,
            weight_decay=0.0,
            max_grad_norm=1.0,
            gradient_checkpointing=gradient_checkpointing,
            length_multiple=32,
            save_every=50,
        ),
        dpo=DpoRecipe(
            name=f"{name}-dpo",
            seed=_SEED,
            lora=lora,
            steps=_STEPS,
            # General questions have no right answer, so DPO has nothing to prefer in them.
            mix=PromptMix(pictures=_MIX.pictures + _MIX.general, words=_MIX.words),
            views=7,
            micro_batch_size=max(1, micro_batch_size // 2),
            lr=_scaled(2e-6, width),
            warmup_steps=10,
            weight_decay=0.0,
            max_grad_norm=1.0,
            gradient_checkpointing=gradient_checkpointing,
            length_multiple=32,
            save_every=50,
            beta=0.1,
        ),
    )


def _scaled(s1_lr: float, width: int) -> float:
    """S1's learning rate in inverse proportion to width, to two digits.

    Adam moves every weight by about the rate, and a layer's output by that times its width. From
    S1's 3e-5 at 4096 this gives 2.1e-4 at 576, where the reference VLM's own recipe has 2e-4.
    """
    return float(f"{s1_lr * _S1_WIDTH / width:.1e}")
