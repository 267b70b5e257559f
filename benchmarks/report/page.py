"""The HTML page: one file that asks nobody for anything.

Styles, script, plots and pictures stand inside it, and its content security policy forbids every
request and every script but its own, so that text from a record could do no harm even if it were
not escaped; it is. Folding and revealing are plain HTML and need no script.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from benchmarks.capabilities.schema import NO_ANSWER
from benchmarks.report.columns import Column
from benchmarks.report.findings import comparison, findings
from benchmarks.report.gallery import Gallery
from benchmarks.report.provenance import lead, origins, provenance
from benchmarks.report.sections import Section
from benchmarks.report.style import Plot, drawing_style, svg
from benchmarks.report.wording import aspect_name, clipped, number

ANSWER_CHARS = 240
MOST_SILENCES = 6


@dataclass(frozen=True, slots=True)
class Silence:
    """A written answer that was read as no answer."""

    label: str
    about: str
    text: str


def render_page(
    columns: Sequence[Column],
    sections: Sequence[Section],
    galleries: Sequence[Gallery],
    *,
    blur: bool = True,
) -> str:
    """The whole page. Text from records is escaped wherever it stands."""
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
        return environment.get_template("page.html.j2").render(
            columns=columns,
            title=_title(columns),
            lead=lead(columns),
            origins=origins(columns),
            provenance=provenance(columns),
            findings=[(column.label, " ".join(findings(column))) for column in columns],
            comparison=" ".join(comparison(columns)),
            sections=sections,
            galleries=galleries,
            silences=silences(columns),
            configs=[
                (column.label, json.dumps(column.record.config, indent=2, ensure_ascii=False))
                for column in columns
            ],
            blur=blur,
            answer_chars=ANSWER_CHARS,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )


def silences(columns: Sequence[Column], *, most: int = MOST_SILENCES) -> list[Silence]:
    """Examples of written answers that say nothing, different ones and at most `most` a record."""
    found: list[Silence] = []
    for column in columns:
        texts: dict[str, Silence] = {}
        for row in column.record.answers:
            if row.outcome == NO_ANSWER and row.text is not None and len(texts) < most:
                about = f"{aspect_name(row.suite, row.modality)}: {row.concept or row.subject}"
                text = clipped(row.text, ANSWER_CHARS) or "(empty)"
                texts.setdefault(text, Silence(column.label, about, text))
        found.extend(texts.values())
    return found


def _title(columns: Sequence[Column]) -> str:
    return f"Capabilities of {', '.join(column.label for column in columns)}"


def _part(name: str) -> str:
    return files("benchmarks.report").joinpath(name).read_text(encoding="utf-8")
