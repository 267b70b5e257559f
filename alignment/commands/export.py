"""`python -m alignment export`: from a run to what is committed or served."""

from pathlib import Path

from alignment.commands.starting import say_written
from alignment.export import export_delta


def export(run: Path, out: Path) -> None:
    """Write a run's weights as the small bf16 delta that assembly merges into the base.

    Parameters
    ----------
    run
        A finished run of `instruct`.
    out
        The folder to write the delta to.
    """
    say_written(export_delta(run, out))
