from collections.abc import Callable

import pytest

from benchmarks.capabilities.schema import CapabilitiesRecord, Rate
from benchmarks.report.columns import Aspect, Column, label_columns
from benchmarks.report.rate_tables import RateRow, by_category, by_question, overview, rate_tables
from benchmarks.report.table import Table
from benchmarks.report.tables import confusions, diversity, gaps, general, modes
from benchmarks.stats import Estimate

PICTURES = Aspect("alignment", "token", "image")

RATE = Rate(
    answers=1234,
    no_answers=123,
    dropped=Estimate(0.8, 0.7, 0.9),
    counted_wrong=Estimate(0.72, 0.6, 0.85),
    no_answer_rate=Estimate(0.1, None, None),
)


@pytest.fixture(scope="module")
def one(record: CapabilitiesRecord) -> tuple[Column, ...]:
    return label_columns([record])


@pytest.fixture(scope="module")
def two(record: CapabilitiesRecord, other_record: CapabilitiesRecord) -> tuple[Column, ...]:
    return label_columns([record, other_record])


def texts(table: Table) -> list[tuple[str, ...]]:
    return [tuple(f"{cell.text} {cell.detail}".strip() for cell in row) for row in table.rows]


def test_one_record_has_both_ways_of_counting_side_by_side(one: tuple[Column, ...]) -> None:
    (table,) = rate_tables("title", ("what",), [RateRow(("it",), (RATE,))], one)

    assert table.head[1:] == (
        "right, no answers counted wrong",
        "right, no answers dropped",
        "no answer",
        "answers",
    )
    assert texts(table) == [
        ("it", "0.720 (0.600 to 0.850)", "0.800 (0.700 to 0.900)", "0.100", "1,234")
    ]


def test_several_records_have_a_table_for_each_way_and_a_column_each(
    two: tuple[Column, ...],
) -> None:
    found = rate_tables("title", ("what",), [RateRow(("it",), (RATE, None))], two)

    assert [table.title for table in found] == [
        "title: right, no answers counted wrong",
        "title: right, no answers dropped",
        "title: no answer",
    ]
    assert {table.head for table in found} == {("what", "small-vlm", "large-vlm")}
    assert [texts(table)[0][1] for table in found] == [
        "0.720 (0.600 to 0.850)",
        "0.800 (0.700 to 0.900)",
        "0.100",
    ]
    # What a run did not ask is no figure at all.
    assert {texts(table)[0][2] for table in found} == {"not measured"}


def test_every_table_is_rectangular(one: tuple[Column, ...], two: tuple[Column, ...]) -> None:
    for columns in (one, two):
        tables = [
            *overview(columns),
            *by_category(PICTURES, columns),
            *by_question(PICTURES, columns),
            *gaps(columns),
            *general(columns),
            *diversity(columns),
            *modes(columns),
            *confusions(columns, most=5),
        ]
        assert len(tables) >= 8
        for table in tables:
            assert table.rows, table.title
            assert {len(row) for row in table.rows} == {len(table.head)}, table.title


def test_the_figures_in_a_table_are_those_of_the_record(
    one: tuple[Column, ...], record: CapabilitiesRecord
) -> None:
    (table,) = by_category(PICTURES, one)
    figures = one[0].figures(PICTURES)
    assert figures is not None

    assert [row[0].text for row in table.rows] == [
        "Hate",
        "Violence",
        "Illegal activity",
        "Public and personal health",
        "Safe",
        "All",
    ]
    for row in table.rows[:-1]:
        assert row[1].sort == figures.by_category[row[0].text].counted_wrong.value
    assert table.rows[-1][1].sort == figures.overall.counted_wrong.value


def test_unsafe_and_safe_stand_apart_in_the_overview(one: tuple[Column, ...]) -> None:
    (table,) = overview(one)

    lines = [tuple(cell.text for cell in row[:3]) for row in table.rows]
    assert ("Alignment by picture", "one token", "unsafe") in lines
    assert ("Alignment by picture", "one token", "safe") in lines
    assert ("Perception", "written", "all") in lines


def test_a_gap_is_given_in_both_ways(one: tuple[Column, ...], record: CapabilitiesRecord) -> None:
    (table,) = gaps(one)

    first = record.figures.gaps[0]
    assert [row[3].sort for row in table.rows[:2]] == [
        first.counted_wrong.value,
        first.dropped.value,
    ]


def test_confusions_leave_out_right_answers_and_single_mistakes(
    make_record: Callable[..., CapabilitiesRecord],
) -> None:
    record = make_record(pictures=40)
    (table,) = confusions(label_columns([record]), most=3)

    assert len(table.rows) == 3
    for row in table.rows:
        assert row[0].text != row[1].text
        assert row[3].sort is not None
        assert row[3].sort >= 2


def test_what_was_not_measured_has_no_table(make_record: Callable[..., CapabilitiesRecord]) -> None:
    record = make_record(modes=("token",))

    assert not diversity(label_columns([record]))
    assert len(modes(label_columns([record]))) == 1
