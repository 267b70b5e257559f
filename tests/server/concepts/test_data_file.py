from pathlib import Path

import pytest

from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file
from server.errors import DataFileError


class Inner(FrozenRecord):
    size: int


class Record(VersionedRecord):
    items: tuple[Inner, ...]


def write(folder: Path, text: str) -> Path:
    path = folder / "record.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    record = read_data_file(write(tmp_path, '{"revision": "7", "items": [{"size": 3}]}'), Record)

    assert record.items == (Inner(size=3),)
    assert record.version.startswith("7-")


def test_every_bad_field_is_named_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, '{"revision": "1", "items": [{"size": "3"}, {"size": 1, "colour": 2}]}')

    with pytest.raises(DataFileError) as caught:
        read_data_file(path, Record)

    assert caught.value.path == path
    fields = [problem.split(":")[0] for problem in caught.value.problems]
    assert fields == ["items.0.size", "items.1.colour"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid JSON"),
        ('{"revision": "1", "revision": "2", "items": []}', "'revision' occurs twice"),
        ('{"revision": "1", "items": [{"size": NaN}]}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_not_clean_json_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(DataFileError, match=complaint):
        read_data_file(write(tmp_path, text), Record)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="can't be read"):
        read_data_file(tmp_path / "absent.json", Record)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFileError, match="can't be read"):
        read_data_file(tmp_path / "binary.json", Record)


def test_the_version_follows_content_and_not_only_the_revision() -> None:
    record = Record(revision="1", items=(Inner(size=1),))

    assert record.version == Record(revision="1", items=(Inner(size=1),)).version
    assert record.version != Record(revision="1", items=(Inner(size=2),)).version
