"""The few fields of a recipe that the command line may change."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from alignment.policy_config import LoraShape
from alignment.ppo_recipe import PpoRecipe
from alignment.recipes_alignment import DpoRecipe, SftRecipe
from server.errors import SightwardError

RecipeT = TypeVar("RecipeT", PpoRecipe, SftRecipe, DpoRecipe)


class OverrideError(SightwardError):
    """A recipe with these changes doesn't add up; `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"recipe {name} can't be changed so: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Overrides:
    """What to change; None leaves a field as the recipe has it.

    `lora_r` is the policy's rank; alpha changes in proportion, so that a learning rate means the
    same, and so does the value model's rank.
    """

    seed: int
    steps: int | None = None
    micro_batch_size: int | None = None
    gradient_checkpointing: bool | None = None
    lora_r: int | None = None
    max_new_tokens: int | None = None


def overridden(recipe: RecipeT, overrides: Overrides) -> RecipeT:
    """The recipe with these changes. Raises OverrideError."""
    fields: dict[str, Any] = {
        "seed": overrides.seed,
        "steps": overrides.steps,
        "micro_batch_size": overrides.micro_batch_size,
    }
    checkpointing, r = overrides.gradient_checkpointing, overrides.lora_r
    try:
        if isinstance(recipe, PpoRecipe):
            policy = recipe.policy
            if checkpointing is not None:
                policy = replace(policy, gradient_checkpointing=checkpointing)
            if r is not None:
                share = r / policy.policy.r
                policy = replace(
                    policy,
                    policy=_scaled(policy.policy, share),
                    value=_scaled(policy.value, share),
                )
            fields |= {"policy": policy, "max_new_tokens": overrides.max_new_tokens}
        else:
            fields["gradient_checkpointing"] = checkpointing
            fields["lora"] = None if r is None else _scaled(recipe.lora, r / recipe.lora.r)
        changes = {name: value for name, value in fields.items() if value is not None}
        return replace(recipe, **changes)
    except ValueError as error:
        raise OverrideError(recipe.name, str(error)) from error


def _scaled(shape: LoraShape, share: float) -> LoraShape:
    r = max(1, round(shape.r * share))
    return replace(shape, r=r, alpha=max(1, round(r * shape.alpha / shape.r)))
