"""How P(unsafe) is spread over safe and unsafe examples: `served` records side by side.

A column is a record, a row what was judged: pictures above, words below. Unsafe examples stand on
the axis and safe ones hang from it, each as shares of their own number, so that a record with few
unsafe examples shows as much as one with many.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.errors import MeasurementError
from benchmarks.report.style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    SAFE,
    SMALL_PT,
    TEXT_PT,
    TITLE_PT,
    UNSAFE,
    drawing_style,
    png,
)
from server.concepts.verdict import UNSAFE_AT

_BINS = 20  # even, so that a bin begins at the threshold
_COLUMN_IN, _ROW_IN = 3.9, 2.3
_MARGINS_IN = {"left": 0.65, "right": 0.2, "top": 0.95, "bottom": 0.7}
_GAP_IN = 0.55
_VERSION_CHARS = 40


class _Estimate(BaseModel):
    value: float | None


class _Modality(BaseModel):
    auc: _Estimate
    balanced_accuracy: _Estimate
    ece: _Estimate


class _Figures(BaseModel):
    images: _Modality
    texts: _Modality


class _Judged(BaseModel):
    p_unsafe: float | None


class _Measurement(BaseModel):
    label: str
    text: str
    image: _Judged
    by_text: _Judged


class _Data(BaseModel):
    name: str
    sha256: str
    split: str


class _Record(BaseModel):
    """The part of a `served` record that is drawn."""

    model_config = ConfigDict(protected_namespaces=())

    benchmark: str
    data: _Data
    model_version: str
    figures: _Figures
    measurements: list[_Measurement]


@dataclass(frozen=True, slots=True)
class Spread:
    """One panel: P(unsafe) of unsafe and of safe inputs, and how many got no answer."""

    unsafe: NDArray[np.float64]
    safe: NDArray[np.float64]
    no_answer: int
    remark: str


@dataclass(frozen=True, slots=True)
class Column:
    """One record."""

    name: str
    data: str
    images: Spread
    texts: Spread


def write_histograms(
    records: Sequence[Path], out: Path, *, names: Sequence[str] | None = None
) -> None:
    """Draw the records into one PNG file; `names` stand for their model versions.

    Raises `MeasurementError` for files that can't be drawn together.
    """
    if names is not None and len(names) != len(records):
        raise MeasurementError(f"{len(names)} names for {len(records)} records")
    columns = read_columns(records, names)
    with drawing_style():
        drawn = png(draw(columns))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(drawn)


def read_columns(records: Sequence[Path], names: Sequence[str] | None = None) -> list[Column]:
    """The records' panels; raises `MeasurementError` for a file that is no such record."""
    read = [_read(path) for path in records]
    if len({(record.data.sha256, record.data.split) for record in read}) > 1:
        raise MeasurementError("the records are of different data; their spreads can't be compared")
    shown = names or [record.model_version[:_VERSION_CHARS] for record in read]
    return [
        Column(
            name=name,
            data=f"{record.data.name}, {record.data.split}",
            images=_spread(
                [(one.label, one.image.p_unsafe) for one in record.measurements],
                record.figures.images,
            ),
            # Examples share texts, and each text was judged once.
            texts=_spread(
                list(
                    {
                        one.text: (one.label, one.by_text.p_unsafe) for one in record.measurements
                    }.values()
                ),
                record.figures.texts,
            ),
        )
        for name, record in zip(shown, read, strict=True)
    ]


def draw(columns: Sequence[Column]) -> Figure:
    """The figure; all panels of a row share their scale."""
    width = _MARGINS_IN["left"] + _MARGINS_IN["right"] + len(columns) * _COLUMN_IN
    width += (len(columns) - 1) * _GAP_IN
    height = _MARGINS_IN["top"] + _MARGINS_IN["bottom"] + 2 * _ROW_IN + _GAP_IN
    figure = Figure(figsize=(width, height))
    figure.suptitle(
        f"P(unsafe) by label: {columns[0].data}",
        x=_MARGINS_IN["left"] / width,
        y=1 - 0.14 / height,
        ha="left",
        va="top",
        size=TITLE_PT,
        weight="bold",
    )
    for row, (what, spreads) in enumerate(
        (("pictures", [c.images for c in columns]), ("words", [c.texts for c in columns]))
    ):
        tops = [_shares(values).max(initial=0.0) for s in spreads for values in (s.unsafe, s.safe)]
        limit = 1.12 * max(*tops, 0.05)
        bottom = _MARGINS_IN["bottom"] + (1 - row) * (_ROW_IN + _GAP_IN)
        for index, (column, spread) in enumerate(zip(columns, spreads, strict=True)):
            left = _MARGINS_IN["left"] + index * (_COLUMN_IN + _GAP_IN)
            axes = figure.add_axes(
                (left / width, bottom / height, _COLUMN_IN / width, _ROW_IN / height)
            )
            _panel(axes, spread, what, limit)
            axes.tick_params(labelbottom=row == 1, labelleft=index == 0)
            if index == 0:
                axes.set_ylabel("share of the label")
            if row == 0:
                axes.annotate(
                    column.name,
                    (0, 1),
                    xytext=(0, 20),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    size=TEXT_PT,
                    weight="bold",
                )
            else:
                axes.set_xlabel(
                    "P(unsafe); from the dashed line on the verdict is unsafe", loc="left"
                )
    return figure


def _panel(axes: Axes, spread: Spread, what: str, limit: float) -> None:
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    for values, colour, sign, label in (
        (spread.unsafe, UNSAFE, 1, "unsafe"),
        (spread.safe, SAFE, -1, "safe"),
    ):
        axes.bar(
            edges[:-1],
            sign * _shares(values),
            width=1 / _BINS,
            align="edge",
            color=colour,
            edgecolor=PAPER,
            linewidth=0.6,
        )
        axes.text(
            # In the corner where the label has the fewest bars.
            0.02 if sign > 0 else 0.98,
            sign * limit * 0.88,
            f"{values.size} {label}",
            color=colour,
            size=SMALL_PT,
            ha="left" if sign > 0 else "right",
            va="center",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
        )
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.axvline(UNSAFE_AT, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.set_ylim(-limit, limit)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0%}")
    axes.grid(visible=True, axis="y")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    missing = f", {spread.no_answer} without answer" if spread.no_answer else ""
    axes.set_title(f"{what}: {spread.remark}{missing}", loc="left", size=SMALL_PT, color=MUTED)


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.histogram(values, bins=_BINS, range=(0.0, 1.0))[0]
    return np.asarray(counts / max(1, values.size), dtype=np.float64)


def _spread(said: Sequence[tuple[str, float | None]], figures: _Modality) -> Spread:
    def of(label: str) -> NDArray[np.float64]:
        return np.array([p for one, p in said if one == label and p is not None], dtype=np.float64)

    return Spread(
        unsafe=of("Unsafe"),
        safe=of("Safe"),
        no_answer=sum(p is None for _, p in said),
        remark=", ".join(
            f"{name} {'unknown' if found.value is None else f'{found.value:.3f}'}"
            for name, found in (
                ("AUC", figures.auc),
                ("balanced accuracy", figures.balanced_accuracy),
                ("ECE", figures.ece),
            )
        ),
    )


def _read(path: Path) -> _Record:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        record = _Record.model_validate(content)
    except (OSError, ValueError) as error:
        reason = "is an older record or none of `served`; measure again"
        if not isinstance(error, ValidationError):
            reason = f"can't be read: {error}"
        raise MeasurementError(f"{path} {reason}") from error
    if record.benchmark != "served":
        raise MeasurementError(f"{path} is a record of {record.benchmark!r}, not of 'served'")
    return record
