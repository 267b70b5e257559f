"""The modern comparison: methods without a value model, which compare the answers to one prompt.

RLOO and GRPO (see `alignment.advantages`) from the very recipe they are compared with: the same
reward, LoRA, KL, learning rate, steps and *answers a step*. A group's answers are to one prompt, so
a step asks fewer prompts; what the comparison holds equal is what is sampled and learnt from, which
is what a step costs.
"""

from dataclasses import replace
from typing import Literal

from alignment.ppo_recipe import PpoRecipe

GroupMethod = Literal["rloo", "grpo"]

GROUP_SIZE = 4


def in_groups(recipe: PpoRecipe, method: GroupMethod, group_size: int = GROUP_SIZE) -> PpoRecipe:
    """The recipe with `method` in place of GAE and as many answers a step.

    Advantages are not whitened: the group is the baseline already, and whitening would bring the
    batch back in. Raises `ValueError` where a kind of prompt is not divisible by `group_size`.
    """
    mix = recipe.mix
    if any(count % group_size for count in (mix.pictures, mix.words, mix.general)):
        raise ValueError(f"{mix} can't be asked {group_size} times each in as many answers")
    return replace(
        recipe,
        name=f"{recipe.name.removesuffix('-ppo')}-{method}",
        advantages=method,
        group_size=group_size,
        whiten_advantages=False,
        mix=replace(
            mix,
            pictures=mix.pictures // group_size,
            words=mix.words // group_size,
            general=mix.general // group_size,
        ),
    )
