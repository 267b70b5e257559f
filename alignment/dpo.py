"""[S1]'s second baseline: direct preference optimisation, with TRL's DPOTrainer.

The answer that `alignment.targets` writes is preferred to its opposite. The reference is the base
with the adapter off, so one copy of the weights serves both.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alignment.data.manifest import ImageSet
from alignment.policy_base import PolicyBase
from alignment.policy_roles import lora_config
from alignment.policy_vision import PictureReader
from alignment.prompt_sampler import ViewReader
from alignment.prompts import AlignmentPrompt
from alignment.recipes_alignment import DpoRecipe
from alignment.sft import recipe_prompts, row_encoder
from alignment.targets import TargetWriter
from alignment.trl_data import dpo_collator, dpo_table
from alignment.trl_run import (
    ADAPTER_NAME,
    claim,
    is_finished,
    run_trainer,
    training_arguments,
)


def train_dpo(
    recipe: DpoRecipe,
    images: ImageSet,
    *,
    run: Path,
    base: PolicyBase,
    prompts: Iterable[AlignmentPrompt] | None = None,
    pictures: PictureReader | None = None,
    quiet: bool = False,
) -> Path:
    """Train, or go on with, a run in folder `run`; return the folder of its PEFT adapter.

    Everything as in `alignment.sft.train_sft`; prompts without a right answer are left out.
    """
    from trl import DPOConfig, DPOTrainer

    prompts = recipe_prompts(recipe, images) if prompts is None else prompts
    writer = TargetWriter(images.examples, seed=recipe.seed)
    table = dpo_table(prompts, writer, limit=recipe.steps * recipe.batch_size)
    claim(run, recipe, base, images.sha256, table)
    if is_finished(run):
        return run / ADAPTER_NAME
    encoder = row_encoder(recipe, base, pictures or ViewReader(images, seed=recipe.seed))

    def make_trainer() -> Any:
        steps = -(-len(table) // recipe.batch_size)
        return DPOTrainer(
            model=base.model,
            args=DPOConfig(beta=recipe.beta, **training_arguments(recipe, base, run, steps)),
            data_collator=dpo_collator(encoder),
            train_dataset=table,
            processing_class=base.processor,
            peft_config=lora_config(base, recipe.lora),
        )

    return run_trainer(make_trainer, recipe, base, run, quiet=quiet)
