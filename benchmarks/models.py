"""The table of ``python -m benchmarks models``: which models are known, and which run here."""

from rich.table import Table

from server.engine.model_registry import ModelEntry, ModelRegistry
from server.engine.model_requirements import (
    GIB,
    Machine,
    RunOptions,
    for_machine,
    needed_bytes,
    refusal,
)


def models_table(
    registry: ModelRegistry, machine: Machine, options: RunOptions | None = None
) -> Table:
    """One row a model, S1's eight first, with the engine that would run it here.

    `GiB` is the memory it needs here. The last column says in two words what keeps it from running;
    a dry run gives the figures.
    """
    options = options or RunOptions()
    where, free = machine.memory
    shown = "unknown" if free is None else f"{free / GIB:.1f} GiB"
    table = Table(
        title=f"models ({where}: {shown} free); * is one of S1's eight",
        title_justify="left",
        show_lines=True,
    )
    # What names a model stands in one cell, so that the table fits into 80 columns.
    table.add_column("model", no_wrap=True)
    table.add_column("engine", no_wrap=True)
    table.add_column("GiB", justify="right", no_wrap=True)
    table.add_column("runs here", no_wrap=True)
    for entry in sorted(registry.entries, key=lambda entry: not entry.in_s1):
        table.add_row(*_row(entry, registry, machine, options))
    return table


def _row(
    entry: ModelEntry, registry: ModelRegistry, machine: Machine, options: RunOptions
) -> tuple[str, ...]:
    choice = for_machine(registry.resolve(entry.name), machine)
    needed = needed_bytes(choice, machine, options)
    refused = refusal(choice, machine, options)
    size = "" if entry.parameters_b is None else f"{entry.parameters_b:g} B parameters, "
    gated = ", gated" if entry.is_gated else ""
    return (
        f"[bold]{entry.name}[/bold]{' *' if entry.in_s1 else ''}\n{entry.model}\n"
        f"[dim]{size}{_short(entry.licence)}{gated}[/dim]",
        choice.engine,
        "" if needed is None else f"{needed / GIB:.1f}",
        "yes" if refused is None else f"no: {refused.short}",
    )


def _short(licence: str) -> str:
    """A licence's name without the registry's remark on it."""
    return licence.partition(" (")[0]
