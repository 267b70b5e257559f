import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.capabilities.general.mm_vet import read_mm_vet
from benchmarks.capabilities.general.sources import Source
from benchmarks.errors import MeasurementError

WriteTable = Callable[[Path, dict[str, list[Any]]], None]


def _source(folder: Path) -> Source:
    return Source("MM-Vet", str(folder), folder)


def test_the_released_files_are_read(mm_vet_folder: Path) -> None:
    first, second = read_mm_vet(_source(mm_vet_folder))

    assert (first.kind, first.prompt, first.right) == (
        "open",
        "What is x in the equation?",
        "-1<AND>-5",
    )
    assert (first.subtask, second.subtask) == ("math+ocr", "math+ocr+spat")
    assert first.subject.id == "mm-vet:v1_0"
    assert first.max_score == 1.0
    assert first.open_image().tobytes() == Image.new("RGB", (8, 8), "green").tobytes()


def test_the_folder_that_the_release_unpacks_to_is_looked_into(
    mm_vet_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outer").mkdir()
    mm_vet_folder.rename(tmp_path / "outer" / "mm-vet")

    assert len(read_mm_vet(_source(tmp_path / "outer"))) == 2


@pytest.mark.parametrize("capability", ["ocr,math", ["math", "ocr"]])
def test_the_hubs_table_names_capabilities_in_either_way(
    tmp_path: Path,
    write_table: WriteTable,
    picture_bytes: Callable[[str], bytes],
    capability: Any,
) -> None:
    write_table(
        tmp_path / "data/test-00000-of-00001.parquet",
        {
            "question_id": ["v1_0"],
            "image": [{"bytes": picture_bytes("green"), "path": None}],
            "question": ["What is x?"],
            "answer": ["1"],
            "image_source": ["somewhere"],
            "capability": [capability],
        },
    )

    (item,) = read_mm_vet(_source(tmp_path))

    assert (item.subtask, item.right) == ("math+ocr", "1")
    assert item.open_image().tobytes() == Image.new("RGB", (8, 8), "green").tobytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"capability": ["juggling"]}, "'juggling', which is none of its six capabilities"),
        ({"capability": []}, "v1_0 has no 'capability'"),
        ({"answer": " "}, "v1_0 has no 'answer'"),
        ({"imagename": "gone.png"}, "v1_0 names images/gone.png, which is not there"),
    ],
)
def test_a_file_that_is_not_mm_vets_is_refused(
    mm_vet_folder: Path, change: dict[str, Any], said: str
) -> None:
    path = mm_vet_folder / "mm-vet.json"
    questions = json.loads(path.read_text())
    questions["v1_0"] |= change
    path.write_text(json.dumps(questions))

    with pytest.raises(MeasurementError, match=said) as caught:
        read_mm_vet(_source(mm_vet_folder))

    assert str(caught.value).startswith(f"{mm_vet_folder} is not MM-Vet: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [("[]", "is no JSON object"), ("{", "is not JSON"), ("{}", "it has no questions")],
)
def test_a_broken_file_is_refused(mm_vet_folder: Path, text: str, said: str) -> None:
    (mm_vet_folder / "mm-vet.json").write_text(text)

    with pytest.raises(MeasurementError, match=said):
        read_mm_vet(_source(mm_vet_folder))


def test_mme_is_not_taken_for_mm_vet(mme_folder: Path) -> None:
    with pytest.raises(MeasurementError, match=r"is not MM-Vet: it has no mm-vet\.json"):
        read_mm_vet(_source(mme_folder))
