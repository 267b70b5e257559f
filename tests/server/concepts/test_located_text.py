from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from server.concepts.data_file import read_data_file
from server.concepts.located_text import lines_of_json, read_yaml
from server.errors import DataFileError


class Step(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: float


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mode: str
    steps: tuple[Step, ...]


YAML = """\
# a comment
mode: off
steps:
  - at: 0.5
  - at: high
    colour: red
"""
JSON = """\
{
  "mode": "off",
  "steps": [
    {"at": 0.5},
    {"at": "high",
     "colour": "red"}
  ]
}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("2026-01-02", "2026-01-02"),
        ("010", 10),
        ("0.50", 0.5),
        ("1e-1", 0.1),
        ("'0.5'", "0.5"),
        ("1_000", "1_000"),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
        ("", None),
    ],
)
def test_yaml_is_read_by_the_rules_under_which_it_is_json(text: str, value: object) -> None:
    assert read_yaml(text).value == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\n\tb: 2", "line 2"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' occurs twice"),
        ("a: !!python/name:os.system x", "the tag"),
        ("? [1, 2]\n: 3", "line 1: a key must be a text"),
        ("a: 1\n---\nb: 2", "line 2"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_yaml(text)


def test_aliases_cannot_fill_the_memory() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    bomb = "\n".join(["l0: &l0 [x]", *levels])

    with pytest.raises(ValueError, match="more than"):
        read_yaml(bomb)


@pytest.mark.parametrize(("name", "text", "line"), [("a.yaml", YAML, 5), ("a.json", JSON, 5)])
def test_a_bad_field_is_named_with_its_line(
    tmp_path: Path, name: str, text: str, line: int
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataFileError) as caught:
        read_data_file(path, Record)

    wrong_type, unknown = caught.value.problems
    assert wrong_type.startswith("steps.1.at: ")
    assert wrong_type.endswith(f"(line {line})")
    assert unknown.startswith("steps.1.colour: ")
    assert unknown.endswith(f"(line {line + 1})")


def test_a_missing_field_is_reported_where_it_should_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("mode: x\nsteps:\n  - at: 0.5\n  - {}\n", encoding="utf-8")

    with pytest.raises(DataFileError, match=r"steps\.1\.at: Field required \(line 4\)"):
        read_data_file(path, Record)


def test_json_that_yaml_reads_otherwise_has_no_lines() -> None:
    assert lines_of_json('{\t"a": 1}').line_of(("a",)) in (1, None)
    assert lines_of_json("{").line_of(("a",)) is None
