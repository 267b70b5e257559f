"""InternVL3.5 in the checkpoints that transformers reads without code of their own (``-HF``).

One tile of 448 pixels a picture (256 positions and their two marks): by default there may be 13 of
them, and whether a picture is unsafe is seen on the whole of it.
"""

from alignment.recipe_book.instruct import instruct_recipe
from alignment.recipe_book.model_recipe import ModelRecipe

_POSITIONS = 258
_ONE_TILE = {"max_patches": 1}


def internvl3_5_1b() -> ModelRecipe:
    """1,024 wide: small enough for larger passes, deep enough for checkpointing to pay."""
    return instruct_recipe(
        "internvl3.5-1b",
        title="InternVL3.5 1B",
        model="OpenGVLab/InternVL3_5-1B-HF",
        licence="apache-2.0",
        width=1024,
        lora_r=32,
        micro_batch_size=16,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_ONE_TILE,
    )


def internvl3_5_2b() -> ModelRecipe:
    """2,048 wide."""
    return instruct_recipe(
        "internvl3.5-2b",
        title="InternVL3.5 2B",
        model="OpenGVLab/InternVL3_5-2B-HF",
        licence="apache-2.0",
        width=2048,
        lora_r=64,
        micro_batch_size=16,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_ONE_TILE,
    )


def internvl3_5_8b() -> ModelRecipe:
    """4,096 wide, as S1's model is; its pictures are half as long."""
    return instruct_recipe(
        "internvl3.5-8b",
        title="InternVL3.5 8B",
        model="OpenGVLab/InternVL3_5-8B-HF",
        licence="apache-2.0",
        width=4096,
        lora_r=128,
        micro_batch_size=8,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_ONE_TILE,
    )
