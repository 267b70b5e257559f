"""What every report's page is: one HTML file that asks nobody for anything.

Styles, script, plots and pictures stand inside it, and its content security policy forbids every
request and every script but its own, so that text from a record could do no harm even if it were
not escaped; it is. Folding and revealing are plain HTML and need no script.
"""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from benchmarks.report.style import Plot, drawing_style, svg
from benchmarks.report.wording import clipped, number


def render(template: str, **context: Any) -> str:
    """The page that a template of this package makes of `context`.

    The template extends ``frame.html.j2``, which needs `title` and `skip_to`, where the figures
    begin. Text is escaped wherever it stands.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("benchmarks.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def drawn(plot: Plot) -> Markup:
        # Matplotlib escapes text; see `style.svg`.
        return Markup(svg(plot))  # noqa: S704

    environment.filters["svg"] = drawn
    environment.filters["number"] = number
    environment.filters["clipped"] = clipped
    script, style = _part("page.js"), _part("page.css")
    with drawing_style():
        return environment.get_template(template).render(
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **context,
        )


def _part(name: str) -> str:
    return files("benchmarks.report").joinpath(name).read_text(encoding="utf-8")
