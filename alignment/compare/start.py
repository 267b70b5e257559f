"""The checkpoint that every run of a comparison starts from."""

import json
from dataclasses import replace
from pathlib import Path

from alignment.compare.plan import ComparisonConfig


def start_of(config: ComparisonConfig) -> str:
    """A folder or hub id; the reference VLM's base is assembled where it is not there yet.

    Without its calibration, which was fitted for what is served: merged runs have none, and the
    base is to be compared with them. Raises UnknownRecipeError and what assembling raises.
    """
    from alignment.recipe_book.registry import recipe_named
    from server.vlm.assembly import assemble
    from server.vlm.references import BASE, reference_files

    model = config.model or recipe_named(config.recipe).model
    if model is not None:
        return model
    return str(assemble(files=replace(reference_files(BASE), calibration=None)))


def tower_grid(base: str) -> int | None:
    """The grid of the reference VLM's tower in checkpoint `base`; None for any other model."""
    try:
        found = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    grid = found.get("grid")
    return grid if isinstance(grid, int) else None
