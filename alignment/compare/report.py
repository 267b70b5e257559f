"""Writes the comparison's files: the table in Markdown and JSON, and the plot."""

import json
from collections.abc import Sequence
from pathlib import Path

from alignment.compare import regression
from alignment.compare.comparison import Comparison
from alignment.compare.figure import draw
from alignment.compare.start import tower_grid
from alignment.compare.table import Row, as_json, markdown, row_of, rows_of

FILES = ("table.md", "table.json", "table.png")

_REGRESSION_NAME = "regression.json"


def write_comparison(comparison: Comparison, *, cache: Path) -> list[Row]:
    """Draw everything that is measured so far; `cache` holds tower features.

    Raises RecordFileError.
    """
    out = comparison.config.out
    rows = [*rows_of(comparison.figures()), *_regression(comparison, cache)]
    write_report(rows, notes_of(comparison), out)
    return rows


def write_report(rows: Sequence[Row], notes: Sequence[str], out: Path) -> None:
    """Write `FILES` into `out`, each whole."""
    table, data, plot = (out / name for name in FILES)
    _write(table, markdown(rows, notes))
    _write(data, json.dumps(as_json(rows, notes), indent=1, allow_nan=False) + "\n")
    draw(rows, plot)


def notes_of(comparison: Comparison) -> list[str]:
    """What a reader must know of the figures."""
    config, domain = comparison.config, comparison.domain
    measured = comparison.images.split(config.measure.split) or comparison.images.examples
    unsafe = sum(one.unsafe for one in measured)
    steps = "each recipe's own number of" if config.steps is None else str(config.steps)
    notes = [
        f"Data: {comparison.images.name}, split {config.measure.split}, {len(measured)} pictures, "
        f"{unsafe} of them unsafe. Recipe {config.recipe}, {steps} steps.",
        f"Written answers are about {config.measure.written} subjects, half of them unsafe, at "
        f"temperature 1, at most {config.measure.max_tokens} tokens. No answer counts as wrong.",
        f"Second judge: {comparison.judge.name}.",
    ]
    if domain.images is not None:
        name, count = domain.images.name, len(domain.images.held_out())
        notes.append(
            f"Outside: {name}, {count} pictures"
            + (
                ", every one of which is in the measured split too: a part of it, no other domain."
                if domain.ids is not None
                else "."
            )
        )
    return notes


def _regression(comparison: Comparison, cache: Path) -> list[Row]:
    config, domain = comparison.config, comparison.domain
    grid = tower_grid(comparison.base)
    if not config.has_regression or grid is None or not comparison.images.is_split:
        return []
    figures = regression.regression_figures(
        comparison.images,
        split=config.measure.split,
        outside=domain.images,
        outside_ids=domain.ids,
        grid=grid,
        cache=cache,
        seed=config.view_seed,
        kept=config.out / _REGRESSION_NAME,
    )
    return [row_of(regression.NAME, [figures])]


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
