"""Every recipe by its name."""

import difflib
from collections.abc import Callable, Mapping

from alignment.recipe_book.internvl import internvl3_5_1b, internvl3_5_2b, internvl3_5_8b
from alignment.recipe_book.model_recipe import ModelRecipe
from alignment.recipe_book.qwen import (
    qwen2_5_vl_3b,
    qwen2_5_vl_7b,
    qwen3_vl_2b,
    qwen3_vl_4b,
    qwen3_vl_8b,
)
from alignment.recipe_book.reference import reference, s1
from alignment.recipe_book.smolvlm import smolvlm_2_2b, smolvlm_256m, smolvlm_500m
from server.errors import SightwardError

RECIPES: Mapping[str, Callable[[], ModelRecipe]] = {
    "reference": reference,
    "s1": s1,
    "smolvlm-256m": smolvlm_256m,
    "smolvlm-500m": smolvlm_500m,
    "smolvlm-2.2b": smolvlm_2_2b,
    "internvl3.5-1b": internvl3_5_1b,
    "internvl3.5-2b": internvl3_5_2b,
    "internvl3.5-8b": internvl3_5_8b,
    "qwen2.5-vl-3b": qwen2_5_vl_3b,
    "qwen2.5-vl-7b": qwen2_5_vl_7b,
    "qwen3-vl-2b": qwen3_vl_2b,
    "qwen3-vl-4b": qwen3_vl_4b,
    "qwen3-vl-8b": qwen3_vl_8b,
}
ALIASES: Mapping[str, str] = {"llava-1.5-7b": "s1"}
"""Other names of a recipe."""


class UnknownRecipeError(SightwardError):
    """No recipe has this name; `near` are names like it."""

    def __init__(self, name: str, near: tuple[str, ...]) -> None:
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        super().__init__(f"unknown recipe {name!r}: {hint}`python -m alignment recipes` lists them")
        self.name = name
        self.near = near


def recipe_named(name: str) -> ModelRecipe:
    """The recipe of that name or alias. Raises UnknownRecipeError."""
    key = name.lower()
    key = ALIASES.get(key, key)
    if key not in RECIPES:
        known = [*RECIPES, *ALIASES]
        raise UnknownRecipeError(name, tuple(difflib.get_close_matches(key, known, n=3)))
    return RECIPES[key]()
