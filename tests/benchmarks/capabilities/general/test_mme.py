from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.capabilities.general.mme import SUBTASKS, read_mme
from benchmarks.capabilities.general.sources import Source
from benchmarks.errors import MeasurementError

WriteTable = Callable[[Path, dict[str, list[Any]]], None]


def _source(folder: Path) -> Source:
    return Source("MME", str(folder), folder)


def _columns(picture_bytes: Callable[[str], bytes]) -> dict[str, list[Any]]:
    """The hub's table in small: a picture a sub-task, two questions about each."""
    rows = [(subtask, answer) for subtask in SUBTASKS for answer in ("Yes", "No")]
    return {
        "question_id": [f"{subtask}/0001.png" for subtask, _ in rows],
        "image": [{"bytes": picture_bytes("blue"), "path": None} for _ in rows],
        "question": [f"{subtask} or not? {answer}" for subtask, answer in rows],
        "answer": [answer for _, answer in rows],
        "category": [subtask for subtask, _ in rows],
    }


def test_both_ways_of_laying_out_a_subtask_are_read(mme_folder: Path) -> None:
    items = read_mme(_source(mme_folder))

    assert Counter(item.subtask for item in items) == dict.fromkeys(SUBTASKS, 2)
    first, second = items[:2]
    assert first.prompt == "Is this existence? Please answer yes or no."
    assert (first.right, second.right) == ("yes", "no")
    assert first.options == ("yes", "no")
    assert first.subject == second.subject
    assert first.subject.id == "mme:existence:0001.png"
    assert (first.question, second.question) == ("q1", "q2")
    assert first.open_image().tobytes() == Image.new("RGB", (8, 8), "blue").tobytes()


@pytest.mark.parametrize(
    "nested", ["MME_Benchmark_release_version", "MME_Benchmark_release_version/MME_Benchmark"]
)
def test_the_folders_that_the_release_unpacks_to_are_looked_into(
    mme_folder: Path, tmp_path: Path, nested: str
) -> None:
    outer = tmp_path / "outer"
    (outer / nested).parent.mkdir(parents=True)
    mme_folder.rename(outer / nested)

    assert len(read_mme(_source(outer))) == 28


def test_other_folders_of_the_release_are_no_subtask(mme_folder: Path) -> None:
    (mme_folder / "eval_tool").mkdir()
    (mme_folder / "eval_tool" / "answers.txt").write_text("a\tb\tc\td\n")

    assert len(read_mme(_source(mme_folder))) == 28


def test_the_hubs_table_gives_the_same_questions(
    tmp_path: Path, write_table: WriteTable, picture_bytes: Callable[[str], bytes]
) -> None:
    write_table(tmp_path / "hub/data/test-00000-of-00001.parquet", _columns(picture_bytes))

    items = read_mme(_source(tmp_path / "hub"))

    assert Counter(item.subtask for item in items) == dict.fromkeys(SUBTASKS, 2)
    assert [item.question for item in items[:2]] == ["q1", "q2"]
    assert items[0].subject == items[1].subject
    assert [item.right for item in items[:2]] == ["yes", "no"]
    assert items[3].open_image().tobytes() == Image.new("RGB", (8, 8), "blue").tobytes()


def _drop_subtask(folder: Path) -> None:
    (folder / "count").rename(folder / "counting")


def _drop_picture(folder: Path) -> None:
    (folder / "existence" / "0001.png").unlink()


def _spoil_answer(folder: Path) -> None:
    (folder / "existence" / "0001.txt").write_text("One?\tYes\nTwo?\tPerhaps\n")


def _drop_tab(folder: Path) -> None:
    (folder / "existence" / "0001.txt").write_text("One? Yes\nTwo?\tNo\n")


def _drop_question(folder: Path) -> None:
    (folder / "existence" / "0001.txt").write_text("One?\tYes\n")


def _make_binary(folder: Path) -> None:
    (folder / "existence" / "0001.txt").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop_subtask, "no questions of count$"),
        (_drop_picture, "existence/0001.txt has no picture"),
        (_spoil_answer, "'Perhaps' is not Yes or No"),
        (_drop_tab, "existence/0001.txt, line 1 is no question, tab and answer"),
        (_make_binary, r"existence/0001\.txt can't be read as text"),
        (_drop_question, "has 1 questions instead of two"),
    ],
)
def test_a_folder_that_is_not_the_whole_of_mme_is_refused(
    mme_folder: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(mme_folder)

    with pytest.raises(MeasurementError, match=said) as caught:
        read_mme(_source(mme_folder))

    assert str(caught.value).startswith(f"{mme_folder} is not MME: ")
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_refused(mm_vet_folder: Path) -> None:
    with pytest.raises(MeasurementError, match="is not MME: it has no folder of any sub-task"):
        read_mme(_source(mm_vet_folder))


def test_a_table_of_something_else_is_refused(tmp_path: Path, write_table: WriteTable) -> None:
    write_table(tmp_path / "test-0.parquet", {"question": ["What?"], "capability": ["ocr"]})

    with pytest.raises(MeasurementError, match="no column question_id, image, answer, category"):
        read_mme(_source(tmp_path))
