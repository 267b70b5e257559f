"""Milliseconds on a logarithmic axis, written out at 1, 2 and 5 of every power of ten."""

import math
from collections.abc import Callable

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_MOST_DECADES = 1.7
"""Over more of them there is room for the powers of ten alone."""


def log_ms(axis: Axis, set_scale: Callable[[str], None]) -> None:
    """Make `axis` such a one; `set_scale` is that of its axes."""

    def shown(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        is_power = math.isclose(math.log10(value) % 1.0, 0.0, abs_tol=1e-9)
        return f"{value:,.10g}" if is_power or math.log10(high / low) < _MOST_DECADES else ""

    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(shown))
    axis.set_minor_formatter(NullFormatter())
