from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from benchmarks.capabilities.schema import CapabilitiesRecord
from benchmarks.report.columns import label_columns
from benchmarks.report.markdown import escaped, markdown_table, render_markdown
from benchmarks.report.sections import make_sections
from benchmarks.report.table import Cell, Table

HOSTILE = "<script>x</script> | ![a](http://example.com/a.png) [b](http://example.com) `c` *d*"


def rendered(*records: CapabilitiesRecord) -> str:
    columns = label_columns(records)
    return render_markdown(columns, make_sections(columns))


def html(markdown: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(markdown)


def test_a_table_is_what_markdown_readers_take_for_one() -> None:
    table = Table("t", ("name", "figure"), ((Cell("a | b"), Cell("0.5", "(0.4 to 0.6)")),))
    text = html(markdown_table(table))

    assert text.count("<td") == 2
    assert "a | b" in text
    assert "0.5 (0.4 to 0.6)" in text
    assert 'style="text-align:right">figure' in text


@pytest.mark.parametrize("text", [HOSTILE, "# title", "a\nb", "~~x~~", "\\", "&amp;", "1\\|2"])
def test_text_comes_out_letter_by_letter(text: str) -> None:
    import html as plain

    shown = html(f"x {escaped(text)}")

    assert plain.unescape(shown) == f"<p>x {' '.join(text.split())}</p>\n"


def test_the_papers_tables_are_there(record: CapabilitiesRecord) -> None:
    text = rendered(record)

    for title in (
        "Perception, one token, by category",
        "Alignment by picture, written, by category",
        "Alignment by words, blank picture, one token, by category",
        "Modality gap",
        "Alignment in context, one token, by question",
        "General ability",
        "Written answers",
        "One token against written answers",
    ):
        assert f"**{title}**" in text, title
    assert "Where showing it is not fine" in text
    assert "right, no answers dropped" in text
    assert "right, no answers counted wrong" in text
    assert record.data.sha256 in text


def test_every_line_of_a_table_has_as_many_cells(
    record: CapabilitiesRecord, other_record: CapabilitiesRecord
) -> None:
    text = rendered(record, other_record)
    tables = [part for part in text.split("\n\n") if part.startswith("|")]

    assert len(tables) > 20
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_hostile_names_become_no_markup(make_record: Callable[..., CapabilitiesRecord]) -> None:
    shown = html(rendered(make_record(model=HOSTILE, data=HOSTILE, concepts=((HOSTILE, HOSTILE),))))

    assert "&lt;script&gt;" in shown
    for tag in ("<script", "<img", "<a ", "<em>d"):
        assert tag not in shown
