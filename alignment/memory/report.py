"""The estimate as a table, beside what is free."""

from rich.table import Table

from alignment.memory.estimate import Layout, MemoryEstimate
from alignment.ppo_recipe import PpoRecipe
from alignment.recipes_alignment import BaselineRecipe

_GIB = 1 << 30


def memory_table(
    estimated: MemoryEstimate,
    recipe: PpoRecipe | BaselineRecipe,
    layout: Layout,
    *,
    dtype: str,
    free: str,
) -> Table:
    """A line a part, the peak last; `free` says what there is, in words."""
    table = Table(title=f"Memory of {recipe.name}, estimated, a process", title_justify="left")
    table.add_column("part")
    table.add_column("GiB", justify="right")
    table.add_column("what it is")
    for part, size, words in _parts(estimated, recipe, layout, dtype):
        table.add_row(part, gib(size), words)
    table.add_section()
    table.add_row("peak", gib(estimated.peak), free)
    return table


def gib(size: int) -> str:
    """Bytes in GiB, to a tenth; smaller ones to a hundredth."""
    return f"{size / _GIB:.1f}" if size >= _GIB else f"{size / _GIB:.2f}"


def _parts(
    estimated: MemoryEstimate, recipe: PpoRecipe | BaselineRecipe, layout: Layout, dtype: str
) -> list[tuple[str, int, str]]:
    learning = f"{layout.learn_rows} x {layout.learn_positions} positions"
    how = "checkpointed" if layout.gradient_checkpointing else "not checkpointed"
    parts = [
        ("weights", estimated.weights, f"the base in {dtype}, once"),
        ("adapters", estimated.trained, f"{_ranks(recipe)}: gradients, masters, moments too"),
        ("pictures", estimated.pictures, f"{layout.pictures} encoded, and those that are kept"),
        ("runtime", estimated.runtime, "libraries, kernels"),
        ("learning", estimated.learning, f"{learning}, {how}, as {' and '.join(layout.roles)}"),
    ]
    if layout.sample_rows:
        rows = f"key-value cache of {layout.sample_rows} x {layout.sample_positions} positions"
        parts.append(("or sampling", estimated.sampling, rows))
    return parts


def _ranks(recipe: PpoRecipe | BaselineRecipe) -> str:
    if isinstance(recipe, PpoRecipe):
        return f"r {recipe.policy.policy.r} and {recipe.policy.value.r}"
    return f"r {recipe.lora.r}"
