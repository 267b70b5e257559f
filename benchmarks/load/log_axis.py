"""Milliseconds on a logarithmic axis, written out at 1, 2 and 5 of every power of ten."""

from collections.abc import Callable

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


def log_ms(axis: Axis, set_scale: Callable[[str], None]) -> None:
    """Make `axis` such a one; `set_scale` is that of its axes."""
    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
