from pathlib import Path

import pytest

from benchmarks.capabilities.schema import CapabilitiesRecord, Rate
from benchmarks.errors import MeasurementError
from benchmarks.report.columns import (
    MAX_RECORDS,
    categories_of,
    concepts_of,
    label_columns,
    read_columns,
)
from benchmarks.stats import Estimate

NOTHING = Estimate(None, None, None)
RATE = Rate(answers=0, no_answers=0, dropped=NOTHING, counted_wrong=NOTHING, no_answer_rate=NOTHING)


def named(record: CapabilitiesRecord, model: str, *, version: str = "v", data: str = "d"):
    return record.model_copy(
        update={
            "model": record.model.model_copy(update={"id": model, "version": version}),
            "data": type(record.data)(data, record.data.sha256, "test", 1),
        }
    )


def labels(*records: CapabilitiesRecord) -> list[str]:
    return [column.label for column in label_columns(records)]


def test_a_label_is_the_model_without_its_maker(record: CapabilitiesRecord) -> None:
    assert labels(named(record, "lab/small/")) == ["small"]


def test_what_tells_records_apart_joins_the_label(record: CapabilitiesRecord) -> None:
    assert labels(named(record, "a/m", data="x"), named(record, "b/m", data="y")) == [
        "m, x test",
        "m, y test",
    ]
    assert labels(named(record, "m", version="1"), named(record, "m", version="2")) == [
        "m, 1",
        "m, 2",
    ]
    assert labels(named(record, "m"), named(record, "m"), named(record, "n")) == [
        "m (1)",
        "m (2)",
        "n",
    ]


def test_a_label_is_one_short_line(record: CapabilitiesRecord) -> None:
    (label,) = labels(named(record, "a\nb\x00c" + "d" * 100))

    assert label.isprintable()
    assert len(label) <= 40


@pytest.mark.parametrize("count", [0, MAX_RECORDS + 1])
def test_none_and_too_many_records_are_refused(count: int) -> None:
    with pytest.raises(MeasurementError):
        read_columns([Path("record.json")] * count)


def test_what_is_no_record_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    path.write_text('{"benchmark": "cost"}')

    with pytest.raises(MeasurementError, match=r"cost\.json"):
        read_columns([path])


def test_safe_stands_last_and_names_follow_the_taxonomy() -> None:
    found = [{"Safe": RATE, "new": RATE, "Violence": RATE}, {"Hate": RATE}]

    assert categories_of(found) == ["Hate", "Violence", "new", "Safe"]
    assert concepts_of([{"Arson": RATE, "new": RATE, "Swastika": RATE}]) == [
        "Swastika",
        "Arson",
        "new",
    ]
