"""What a name on the command line stands for: one model, and how each method trains it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from alignment.ppo_recipe import PpoRecipe
from alignment.recipes_alignment import DpoRecipe, SftRecipe

Method = Literal["ppo", "sft", "dpo"]


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """One model and its PPO, SFT and DPO, nothing left to choose.

    - `model` is the hub id; None for the reference VLM, which is assembled from packages.
    - `dtype` is that of the frozen base (a torch name); adapters have float32 masters beside it.
    - `processor_options` go to the checkpoint's own processor, to bound what a picture costs;
      `picture_positions` is the most that a picture then takes of a prompt.
    """

    name: str
    title: str
    model: str | None
    licence: str
    ppo: PpoRecipe
    sft: SftRecipe
    dpo: DpoRecipe
    picture_positions: int
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    processor_options: Mapping[str, Any] = field(default_factory=dict)
