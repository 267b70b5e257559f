"""SmolVLM, of Idefics3's architecture.

The first generation: the second one's processor is for videos too and wants a package for them. One
tile a picture, with the marks around it; by default there are up to 17.
"""

from alignment.recipe_book.instruct import instruct_recipe
from alignment.recipe_book.model_recipe import ModelRecipe

_ONE_TILE = {"do_image_splitting": False}


def smolvlm_256m() -> ModelRecipe:
    """576 wide, the reference VLM's language model: half of a thirty-second would be no rank."""
    return instruct_recipe(
        "smolvlm-256m",
        title="SmolVLM 256M",
        model="HuggingFaceTB/SmolVLM-256M-Instruct",
        licence="apache-2.0",
        width=576,
        lora_r=16,
        micro_batch_size=16,
        gradient_checkpointing=False,
        picture_positions=67,
        processor_options=_ONE_TILE,
    )


def smolvlm_500m() -> ModelRecipe:
    """960 wide."""
    return instruct_recipe(
        "smolvlm-500m",
        title="SmolVLM 500M",
        model="HuggingFaceTB/SmolVLM-500M-Instruct",
        licence="apache-2.0",
        width=960,
        lora_r=32,
        micro_batch_size=16,
        gradient_checkpointing=False,
        picture_positions=67,
        processor_options=_ONE_TILE,
    )


def smolvlm_2_2b() -> ModelRecipe:
    """2,048 wide, with 32 key-value heads: its sampling cache is a large one for its size."""
    return instruct_recipe(
        "smolvlm-2.2b",
        title="SmolVLM 2.2B",
        model="HuggingFaceTB/SmolVLM-Instruct",
        licence="apache-2.0",
        width=2048,
        lora_r=64,
        micro_batch_size=16,
        gradient_checkpointing=True,
        picture_positions=84,
        processor_options=_ONE_TILE,
    )
