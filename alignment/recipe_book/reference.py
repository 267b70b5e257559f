"""The reference VLM's recipe, and the paper's."""

from alignment.ppo_recipe import reference_ppo, s1_ppo
from alignment.recipe_book.model_recipe import ModelRecipe
from alignment.recipes_alignment import reference_dpo, reference_sft, s1_dpo, s1_sft


def reference() -> ModelRecipe:
    """This product's own model on two CPU cores."""
    return ModelRecipe(
        name="reference",
        title="Sightward's reference VLM",
        model=None,
        licence="apache-2.0",
        ppo=reference_ppo(),
        sft=reference_sft(),
        dpo=reference_dpo(),
        # Its grid of 4 x 4 and 4 safety tokens.
        picture_positions=20,
    )


def s1() -> ModelRecipe:
    """[S1]: LLaVA-1.5-7B on one GPU of 80 GB, the paper's settings throughout."""
    return ModelRecipe(
        name="s1",
        title="LLaVA-1.5 7B as in S1",
        model="llava-hf/llava-1.5-7b-hf",
        licence="llama2",
        ppo=s1_ppo(),
        sft=s1_sft(),
        dpo=s1_dpo(),
        # 336 pixels in patches of 14.
        picture_positions=576,
    )
