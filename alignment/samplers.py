"""Which sampler draws a run's answers."""

from collections.abc import Iterator
from contextlib import contextmanager

from alignment.policy import Policy
from alignment.policy_vision import PictureReader
from alignment.ppo_recipe import PpoRecipe
from alignment.rollout import Sampler
from alignment.rollout_transformers import TransformersSampler


@contextmanager
def open_sampler(recipe: PpoRecipe, policy: Policy, pictures: PictureReader) -> Iterator[Sampler]:
    """The recipe's sampler; what it started is stopped on leaving.

    Raises EngineStartError where vLLM is asked for and is missing or can't serve the model.
    """
    if recipe.sampler == "transformers":
        yield TransformersSampler(policy, max_new_tokens=recipe.max_new_tokens)
        return
    # vLLM is slow to import, and not everybody has it.
    from alignment.rollout_vllm import VllmSampler

    with VllmSampler(
        policy,
        pictures,
        max_new_tokens=recipe.max_new_tokens,
        gpu_memory_share=recipe.sampler_gpu_memory,
    ) as sampler:
        yield sampler
