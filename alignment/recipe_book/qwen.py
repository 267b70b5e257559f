"""Qwen2.5-VL and Qwen3-VL. Ranks are a 32nd of the width, as S1's 128 is of 4096, in powers of two.

Pictures are shrunk to 576 positions, LLaVA-1.5's number; by default they may take 16,384, and the
memory of a pass grows with them.
"""

from alignment.recipe_book.instruct import instruct_recipe
from alignment.recipe_book.model_recipe import ModelRecipe

_POSITIONS = 576
# A position is a square of 28 pixels in Qwen2.5-VL and of 32 in Qwen3-VL.
_QWEN2_5_PICTURES = {"size": {"shortest_edge": 4 * 28**2, "longest_edge": _POSITIONS * 28**2}}
_QWEN3_PICTURES = {"size": {"shortest_edge": 64 * 32**2, "longest_edge": _POSITIONS * 32**2}}


def qwen2_5_vl_3b() -> ModelRecipe:
    """2,048 wide: fits a GPU of 24 GB with checkpointing."""
    return instruct_recipe(
        "qwen2.5-vl-3b",
        title="Qwen2.5-VL 3B",
        model="Qwen/Qwen2.5-VL-3B-Instruct",
        licence="Qwen Research (non-commercial)",
        width=2048,
        lora_r=64,
        micro_batch_size=8,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_QWEN2_5_PICTURES,
    )


def qwen2_5_vl_7b() -> ModelRecipe:
    """3,584 wide; the vocabulary of 152,064 words is a good part of a pass."""
    return instruct_recipe(
        "qwen2.5-vl-7b",
        title="Qwen2.5-VL 7B",
        model="Qwen/Qwen2.5-VL-7B-Instruct",
        licence="apache-2.0",
        width=3584,
        lora_r=128,
        micro_batch_size=4,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_QWEN2_5_PICTURES,
    )


def qwen3_vl_2b() -> ModelRecipe:
    """2,048 wide."""
    return instruct_recipe(
        "qwen3-vl-2b",
        title="Qwen3-VL 2B",
        model="Qwen/Qwen3-VL-2B-Instruct",
        licence="apache-2.0",
        width=2048,
        lora_r=64,
        micro_batch_size=8,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_QWEN3_PICTURES,
    )


def qwen3_vl_4b() -> ModelRecipe:
    """2,560 wide; the power of two below a 32nd of it."""
    return instruct_recipe(
        "qwen3-vl-4b",
        title="Qwen3-VL 4B",
        model="Qwen/Qwen3-VL-4B-Instruct",
        licence="apache-2.0",
        width=2560,
        lora_r=64,
        micro_batch_size=8,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_QWEN3_PICTURES,
    )


def qwen3_vl_8b() -> ModelRecipe:
    """4,096 wide, as S1's model is."""
    return instruct_recipe(
        "qwen3-vl-8b",
        title="Qwen3-VL 8B",
        model="Qwen/Qwen3-VL-8B-Instruct",
        licence="apache-2.0",
        width=4096,
        lora_r=128,
        micro_batch_size=4,
        gradient_checkpointing=True,
        picture_positions=_POSITIONS,
        processor_options=_QWEN3_PICTURES,
    )
