from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.data.errors import UnknownSourceError
from benchmarks.capabilities.general.sources import Source, find_source
from benchmarks.errors import MeasurementError

WriteTable = Callable[[Path, dict[str, list[Any]]], None]


def test_only_the_named_splits_tables_are_read(tmp_path: Path, write_table: WriteTable) -> None:
    write_table(tmp_path / "data/test-00000-of-00002.parquet", {"x": [1]})
    write_table(tmp_path / "data/test-00001-of-00002.parquet", {"x": [2]})
    write_table(tmp_path / "data/train-00000-of-00001.parquet", {"x": [3]})
    source = Source("MME", "here", tmp_path)

    assert [row["x"] for row in source.rows("test", ["x"])] == [1, 2]
    assert [row["x"] for row in source.rows("train", ["x"])] == [3]


def test_a_split_by_another_name_is_all_there_is(tmp_path: Path, write_table: WriteTable) -> None:
    write_table(tmp_path / "0000.parquet", {"x": [1]})

    assert [row["x"] for row in Source("MME", "here", tmp_path).rows("test", ["x"])] == [1]


def test_tables_far_below_the_folder_are_not_its_own(
    tmp_path: Path, write_table: WriteTable
) -> None:
    write_table(tmp_path / "some/other/set/test-0.parquet", {"x": [1]})

    assert Source("MME", "here", tmp_path).tables("test") == []


@pytest.mark.parametrize("content", [b"", b"no table", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_damaged_table_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test-0.parquet").write_bytes(content)

    with pytest.raises(MeasurementError, match="its tables can't be read") as caught:
        Source("MME", "here", tmp_path).rows("test", ["x"])

    assert "\n" not in str(caught.value)


def test_tables_that_do_not_fit_together_are_said_in_one_line(
    tmp_path: Path, write_table: WriteTable
) -> None:
    write_table(tmp_path / "test-0.parquet", {"x": [1]})
    write_table(tmp_path / "test-1.parquet", {"x": ["one"]})

    with pytest.raises(MeasurementError, match="its tables can't be read"):
        Source("MME", "here", tmp_path).rows("test", ["x"])


@pytest.mark.parametrize("where", ["./gone", "/no/such/folder", "one", "a/b/c", "", "~/gone"])
def test_what_is_neither_folder_nor_hub_id_is_refused(where: str) -> None:
    with pytest.raises(UnknownSourceError):
        find_source("MME", where)
