"""`python -m alignment plot`: a training's curves as one picture."""

from pathlib import Path

from alignment.commands.starting import say_written


def plot(first: Path, *others: Path, out: Path | None = None) -> None:
    """Draw the curves of a run (PPO, SFT, DPO or a stage before) as one PNG.

    Parameters
    ----------
    first
        The folder of a run.
    others
        More runs of the same recipe, other seeds: their mean is drawn with its spread.
    out
        The file to write. Default: `curves.png` in the run, or beside the first of several.
    """
    from alignment.curves import read_curves
    from alignment.plot import plot_runs

    runs = [read_curves(run) for run in (first, *others)]
    folder = first.resolve().parent if others else first
    say_written(plot_runs(runs, out or folder / "curves.png"))
