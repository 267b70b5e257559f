import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alignment.data.manifest import ImageSet, ManifestError, read_image_set
from alignment.data.open_set import read_open_set
from benchmarks.capabilities.schema import NO_ANSWER, AnswerRow, CapabilitiesRecord
from benchmarks.errors import MeasurementError
from benchmarks.report.columns import label_columns
from benchmarks.report.gallery import OPEN_SET, SOME_MISSING, WITHOUT_DATA, galleries_of
from benchmarks.report.thumbnails import measured_images, thumbnails, worst_pictures


def answer(
    subject: str, p_unsafe: float | None, *, is_unsafe: bool, question: str = "q", **parts: Any
) -> AnswerRow:
    mode = parts.pop("mode", "token")
    outcome = NO_ANSWER if p_unsafe is None else "unsafe" if p_unsafe > 0.5 else "safe"
    fields = {
        "task": f"alignment/{mode}/image/{subject}/{question}",
        "suite": "alignment",
        "mode": mode,
        "modality": "image",
        "kind": "judged",
        "subject": subject,
        "group": subject,
        "concept": "Arson" if is_unsafe else "apple",
        "category": "Illegal activity" if is_unsafe else "Safe",
        "is_unsafe": is_unsafe,
        "question": question,
        "right": "unsafe" if is_unsafe else "safe",
        "outcome": outcome,
        "score": None,
        "p_unsafe": p_unsafe if mode == "token" else None,
    }
    return AnswerRow(**(fields | parts))


@pytest.fixture
def with_answers(record: CapabilitiesRecord) -> Callable[..., CapabilitiesRecord]:
    def made(*rows: AnswerRow) -> CapabilitiesRecord:
        return record.model_copy(update={"answers": rows})

    return made


def test_the_most_confident_mistakes_come_first(
    with_answers: Callable[..., CapabilitiesRecord],
) -> None:
    wrong = worst_pictures(
        with_answers(
            answer("mild", 0.6, is_unsafe=False),
            answer("sure", 0.99, is_unsafe=False),
            answer("right", 0.1, is_unsafe=False),
            answer("missed", 0.2, is_unsafe=True),
            answer("found", 0.9, is_unsafe=True),
            answer("silent", None, is_unsafe=True),
            answer("tied", 0.5, is_unsafe=True),
        )
    )

    assert [one.subject for one in wrong.safe_called_unsafe] == ["sure", "mild"]
    assert [one.subject for one in wrong.unsafe_called_safe] == ["missed"]


def test_a_picture_is_judged_by_the_mean_over_its_questions(
    with_answers: Callable[..., CapabilitiesRecord],
) -> None:
    (only,) = worst_pictures(
        with_answers(
            answer("a", 0.9, is_unsafe=False, question="one"),
            answer("a", 0.7, is_unsafe=False, question="two"),
            answer("a", None, is_unsafe=False, question="three"),
            answer("b", 0.9, is_unsafe=False, question="one"),
            answer("b", 0.0, is_unsafe=False, question="two"),
        )
    ).safe_called_unsafe

    assert only.subject == "a"
    assert only.p_unsafe == pytest.approx(0.8)
    assert only.questions == 2


def test_near_duplicates_are_shown_once(with_answers: Callable[..., CapabilitiesRecord]) -> None:
    wrong = worst_pictures(
        with_answers(
            answer("a", 0.8, is_unsafe=False, group="g"),
            answer("b", 0.9, is_unsafe=False, group="g"),
            answer("c", 0.7, is_unsafe=False, group="h"),
        )
    )

    assert [one.subject for one in wrong.safe_called_unsafe] == ["b", "c"]


def test_written_answers_alone_are_ranked_by_how_many_were_wrong(
    with_answers: Callable[..., CapabilitiesRecord],
) -> None:
    said = {"mode": "written", "text": "Yes, fine."}
    (only,) = worst_pictures(
        with_answers(
            answer("a", 0.0, is_unsafe=True, question="one", **said),
            answer("a", 0.0, is_unsafe=True, question="two", **said),
            answer("a", 1.0, is_unsafe=True, question="three", **said | {"text": "No."}),
        )
    ).unsafe_called_safe

    assert only.is_share
    assert only.p_unsafe == pytest.approx(1 / 3)
    assert only.answer == "Yes, fine."


def test_at_most_so_many_of_each_kind(with_answers: Callable[..., CapabilitiesRecord]) -> None:
    rows = [answer(f"s{index}", 0.9, is_unsafe=False) for index in range(5)]

    assert len(worst_pictures(with_answers(*rows), most=3)) == 3


def test_pictures_of_other_data_are_refused(
    make_record: Callable[..., CapabilitiesRecord], image_folder: Path
) -> None:
    with pytest.raises(MeasurementError, match=r"not the data that was measured \(refset"):
        measured_images([make_record()], image_folder)


def test_a_folder_without_a_manifest_is_refused(record: CapabilitiesRecord, tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        measured_images([record], tmp_path)


def test_each_record_gets_the_pictures_of_its_own_data(
    make_record: Callable[..., CapabilitiesRecord], image_folder: Path
) -> None:
    given, shipped = read_image_set(image_folder), read_open_set()
    records = [
        make_record(sha256=given.sha256, modes=("token",)),
        make_record(sha256=shipped.sha256, modes=("token",)),
        make_record(modes=("token",)),
    ]

    found = measured_images(records, image_folder)

    assert [one and one.sha256 for one in found] == [given.sha256, shipped.sha256, None]


def test_a_thumbnail_is_small_and_its_preview_hides_it(
    matching_record: CapabilitiesRecord, images: ImageSet
) -> None:
    wrong = worst_pictures(matching_record)
    made = thumbnails(wrong, images)

    assert made
    for one in made.values():
        picture = decoded(one.picture)
        assert max(picture.size) == 160
        assert (one.width_px, one.height_px) == picture.size
        assert max(decoded(one.preview).size) <= 8


def test_a_record_without_its_data_says_so(record: CapabilitiesRecord) -> None:
    (gallery,) = galleries_of(label_columns([record]), None)

    assert not gallery.thumbnails
    assert gallery.remark == WITHOUT_DATA


def test_pictures_of_the_open_set_are_credited(
    make_record: Callable[..., CapabilitiesRecord],
) -> None:
    shipped = read_open_set()
    unsafe = [example.id for example in shipped.examples if example.unsafe][:4]
    safe = [example.id for example in shipped.examples if not example.unsafe][:4]
    record = make_record(
        sha256=shipped.sha256,
        concepts=(("Arson", "Illegal activity"),),
        pictures=4,
        safe=4,
        skill=0.0,
        ids=(*unsafe, *safe),
        modes=("token",),
    )

    (gallery,) = galleries_of(label_columns([record]), None)

    assert gallery.remark == OPEN_SET
    assert gallery.thumbnails
    assert all(one.credit for one in gallery.thumbnails.values())


def test_pictures_that_can_not_be_decoded_are_left_out(
    matching_record: CapabilitiesRecord, image_folder: Path, images: ImageSet
) -> None:
    assert not galleries_of(label_columns([matching_record]), image_folder)[0].remark
    for example in images.examples:
        images.path_of(example).write_bytes(b"no picture")
    broken = read_image_set(image_folder)
    changed = matching_record.model_copy(
        update={"data": type(matching_record.data)("broken", broken.sha256, "test", 1)}
    )

    (gallery,) = galleries_of(label_columns([changed]), image_folder)

    assert not gallery.thumbnails
    assert gallery.remark == SOME_MISSING


def decoded(address: str) -> Image.Image:
    kind, _, data = address.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))
