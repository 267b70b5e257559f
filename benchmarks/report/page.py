"""The HTML page of `capabilities` records (`frame` says what any page is)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.capabilities.schema import NO_ANSWER
from benchmarks.report.columns import Column
from benchmarks.report.findings import comparison, findings
from benchmarks.report.frame import render
from benchmarks.report.gallery import Gallery
from benchmarks.report.provenance import lead, origins, provenance
from benchmarks.report.sections import Section
from benchmarks.report.wording import aspect_name, clipped

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
    return render(
        "page.html.j2",
        skip_to="overview",
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
