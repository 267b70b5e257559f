"""The paper's tables as Markdown, for a README or an appendix.

Text from records is escaped: a name can neither break a table nor become a link or a picture.
"""

import re
from collections.abc import Sequence

from benchmarks.report.columns import Column
from benchmarks.report.findings import comparison, findings
from benchmarks.report.provenance import lead, origins, provenance
from benchmarks.report.sections import Section
from benchmarks.report.table import Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#$&!])")


def render_markdown(columns: Sequence[Column], sections: Sequence[Section]) -> str:
    """Findings, origin and every table of `sections`."""
    parts = [
        f"# Capabilities of {', '.join(escaped(column.label) for column in columns)}",
        escaped(lead(columns)),
        *(escaped(one) for one in origins(columns)),
    ]
    for column in columns:
        name = f"**{escaped(column.label)}.** " if len(columns) > 1 else ""
        parts.append(name + escaped(" ".join(findings(column))))
    if said := comparison(columns):
        parts.append(escaped(" ".join(said)))
    parts.append(
        'Intervals are 95% bootstrap ones with near-duplicates drawn together. "No answer" is '
        "an outcome of its own; both ways of counting it are given."
    )
    parts += ["## What was measured", markdown_table(provenance(columns))]
    for section in sections:
        parts += [f"## {section.title}", section.text]
        for table in (*section.tables, *section.folded):
            parts += [f"**{escaped(table.title)}**", markdown_table(table)]
            if table.note:
                parts.append(escaped(table.note))
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table with figures to the right."""
    lines = [_line([escaped(name) for name in table.head])]
    lines.append(
        _line(
            [
                "---" if index == 0 or name in table.names else "---:"
                for index, name in enumerate(table.head)
            ]
        )
    )
    lines += [
        _line([escaped(f"{cell.text} {cell.detail}".rstrip()) for cell in row])
        for row in table.rows
    ]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """`text` as Markdown shows it letter by letter, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
