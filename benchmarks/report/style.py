"""How plots look: one colour-blind-safe style for the PNG files and the page.

Colours are Okabe and Ito's. The page shows the same figures as inline SVG whose colours and fonts
are CSS variables, so they follow the reader's light or dark scheme; `theme` does that exchange.
Text in names is drawn as it stands, never read as TeX.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 4.8
"""Narrow enough for a phone: on a desktop two plots stand side by side."""

PNG_DPI = 220

SIDE_IN = 0.12
"""The margin at both sides of a figure; the page has margins of its own and crops it."""

INK = "#1b1f24"
MUTED = "#59636e"
GRID = "#dde1e6"
PAPER = "#fefefe"
SAFE = "#2a78b5"
UNSAFE = "#cc5a00"
SERIES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7a7a7a",
    "#8c7a1f",
)

CSS_NAMES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "surface",
    SAFE: "safe",
    UNSAFE: "unsafe",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}

_POINTS_AN_INCH = 72
TEXT_PT = 9.0
SMALL_PT = 8.0
TITLE_PT = 10.5

_SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": TEXT_PT,
    "text.parse_math": False,
    "text.usetex": False,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": SMALL_PT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.frameon": False,
    "legend.fontsize": SMALL_PT,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "sightward",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished figure: `name` is its file's stem, `alt` says in words what it shows.

    `is_wide` asks for the page's whole width.
    """

    name: str
    title: str
    alt: str
    figure: "Figure"
    is_wide: bool = False


@contextmanager
def drawing_style() -> Iterator[None]:
    """The style for everything drawn or saved inside; the caller's own settings come back after.

    A name in a script that the font lacks shows as boxes, which is no reason for a warning.
    """
    import matplotlib

    with matplotlib.rc_context(rc=_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg(plot: Plot) -> str:
    """The figure as SVG to stand inside an HTML page, without a fixed size or colours."""
    buffer = io.StringIO()
    plot.figure.savefig(
        buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
    )
    return theme(buffer.getvalue(), plot.name)


def theme(svg_text: str, name: str) -> str:
    """Matplotlib's SVG with CSS variables for colours and font, and ids of its own.

    Several plots share a page, where an id may stand once.
    """
    inner = svg_text[svg_text.index("<svg") :]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<style type=\"text/css\">.*?</style>", "", inner, flags=re.DOTALL)
    inner = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", inner, count=1)
    inner = re.sub(r'viewBox="0 0 (\S+) (\S+)"', _without_sides, inner, count=1)
    inner = inner.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    inner = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', inner)
    inner = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", inner)
    inner = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', inner)
    inner = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", inner)
    inner = re.sub(r"font: ([^;\"']*?)'[^;\"]*", r"font: \1var(--sans)", inner)
    for colour, variable in CSS_NAMES.items():
        inner = inner.replace(colour, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", "\n", inner).strip()


def _without_sides(view_box: re.Match[str]) -> str:
    side = SIDE_IN * _POINTS_AN_INCH
    width = float(view_box[1]) - 2 * side
    return f'viewBox="{side:g} 0 {width:g} {view_box[2]}"'
