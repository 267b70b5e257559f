import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.capabilities.general.rtvlm import PUBLISHED_RTVLM, SUBTASKS, read_rtvlm
from benchmarks.capabilities.general.sources import Source
from benchmarks.errors import MeasurementError

WriteJsonl = Callable[[Path, Iterable[Mapping[str, Any]]], None]


def _source(folder: Path) -> Source:
    return Source("RTVLM", str(folder), folder)


def test_every_subtask_is_read_however_its_fields_are_named(rtvlm_folder: Path) -> None:
    items = read_rtvlm(_source(rtvlm_folder))

    assert {item.subtask for item in items} == {part.name for part in SUBTASKS}
    first = [item for item in items if item.subtask == "text misleading"]
    assert [(one.prompt, one.right, one.question) for one in first] == [
        ("Why is it red?", "To be refused: No", "q1"),
        ("Why is it hot?", "To be refused: Yes", "q2"),
    ]
    told = {item.subtask: (item.prompt, item.right) for item in items}
    assert told["visual misleading, right"] == ("What is shown?", "A dog.")
    assert told["visual misleading, wrong"] == ("Name the person.", "")
    assert told["image order A"] == ("Solve this.", "To be refused: Yes")
    assert {item.max_score for item in items} == {10.0}


def test_pictures_come_out_of_the_zips(rtvlm_folder: Path) -> None:
    purple = Image.new("RGB", (8, 8), "purple").tobytes()

    assert all(item.open_image().tobytes() == purple for item in read_rtvlm(_source(rtvlm_folder)))


def test_a_folder_without_data_above_it_is_read_too(rtvlm_folder: Path) -> None:
    assert len(read_rtvlm(_source(rtvlm_folder / "data"))) == len(read_rtvlm(_source(rtvlm_folder)))


def test_what_lies_in_img_replaces_an_older_zip_beside_it(
    rtvlm_folder: Path, picture_bytes: Callable[[str], bytes]
) -> None:
    folder = rtvlm_folder / "data" / "Safety" / "Politics"
    for path in folder.rglob("*.zip"):
        path.unlink()
    (folder / "img").mkdir(exist_ok=True)
    for name, colour in (("politics.zip", "black"), ("img/politics.zip", "white")):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("7.png", picture_bytes(colour))

    (item,) = [one for one in read_rtvlm(_source(rtvlm_folder)) if one.subtask == "politics"]

    assert item.open_image().getpixel((0, 0)) == (255, 255, 255)


def test_unpacked_pictures_are_found_by_name(
    rtvlm_folder: Path, write_jsonl: WriteJsonl, picture_bytes: Callable[[str], bytes]
) -> None:
    folder = rtvlm_folder / "data" / "Captcha"
    for path in folder.rglob("*.zip"):
        path.unlink()
    (folder / "img").mkdir(exist_ok=True)
    (folder / "img" / "numbers.jpg").write_bytes(picture_bytes("white"))
    write_jsonl(folder / "captcha.jsonl", [{"prompt": "Read it.", "img": "img/numbers.jpg"}])

    (item,) = [one for one in read_rtvlm(_source(rtvlm_folder)) if one.subtask == "captcha"]

    assert item.open_image().getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"prompt": "Read it.", "index": 8}, "Captcha/captcha.jsonl, line 1 has no picture 8"),
        ({"prompt": "Read it."}, "Captcha/captcha.jsonl, line 1 has no picture"),
        ({"index": 7}, "Captcha/captcha.jsonl, line 1 asks nothing"),
    ],
)
def test_a_line_without_question_or_picture_is_refused(
    rtvlm_folder: Path, write_jsonl: WriteJsonl, line: dict[str, Any], said: str
) -> None:
    write_jsonl(rtvlm_folder / "data" / "Captcha" / "captcha.jsonl", [line])

    with pytest.raises(MeasurementError, match=said):
        read_rtvlm(_source(rtvlm_folder))


def test_a_part_of_rtvlm_is_refused_with_what_it_lacks(rtvlm_folder: Path) -> None:
    (rtvlm_folder / "data" / "Face" / "face_diffusion.jsonl").unlink()

    with pytest.raises(
        MeasurementError, match=r"is not RTVLM: it has no Face/face_diffusion\.jsonl$"
    ):
        read_rtvlm(_source(rtvlm_folder))


def test_a_zip_that_is_none_is_refused(rtvlm_folder: Path) -> None:
    (rtvlm_folder / "data" / "Face" / "broken.zip").write_bytes(b"no zip")

    with pytest.raises(MeasurementError, match=r"data/Face/broken\.zip is no zip file"):
        read_rtvlm(_source(rtvlm_folder))


def test_the_published_scores_are_those_of_the_papers() -> None:
    assert PUBLISHED_RTVLM["SafeVLM"] == 8.26
    assert all(0 < score < 10 for score in PUBLISHED_RTVLM.values())
