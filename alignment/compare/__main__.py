"""`python -m alignment.compare`: one run of a comparison, which starts it; not for people."""

import sys
from pathlib import Path

from cyclopts import App

from alignment.compare.orders import RunOrder
from alignment.compare.plan import Method
from alignment.compare.training import carry_out
from server.errors import SightwardError

app = App(name="alignment.compare", help="One run of a comparison: train it and merge it.")


@app.default
def one_run(
    method: Method,
    *,
    seed: int,
    data: Path,
    recipe: str,
    model: str,
    run: Path,
    merged: Path,
    view_seed: int,
    steps: int | None = None,
) -> None:
    """Train one run and merge it, or go on with it.

    Parameters
    ----------
    method
        How to train.
    seed
        Seed of everything random but the pictures' views.
    data
        A folder with a manifest.jsonl.
    recipe
        A recipe of the book.
    model
        The checkpoint to start from.
    run
        The run's folder.
    merged
        Where the merged checkpoint goes.
    view_seed
        Seed of the pictures' views.
    steps
        Overrides the recipe's number of steps.
    """
    carry_out(RunOrder(method, seed, data, recipe, model, run, merged, steps, view_seed))


def main() -> None:
    """Run the command line; errors raised on purpose are one line, not a traceback."""
    try:
        app()
    except SightwardError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
