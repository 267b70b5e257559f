"""Thresholds are as wide as validation pictures bear out, and no wider."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from alignment.calibration.answers import Item, RawAnswer, picture_items
from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.fast_path import (
    HeadAnswers,
    SureSettings,
    ask_head,
    fit_fast_path,
)
from alignment.calibration.fast_path_table import fast_path_table
from alignment.calibration.groups import FitSettings
from alignment.data.manifest import read_image_set
from server.concepts.calibration import FastPathCalibration, JudgementCalibration
from server.concepts.fast_path import FastReading
from server.concepts.head_score import head_p_unsafe
from server.concepts.risk import CLEAN, Risk
from server.errors import NoFastPathError

SETTINGS = FitSettings(folds=2, seed=1)
PLAIN = JudgementCalibration()


def answer(number: int, *, is_unsafe: bool, whole: float | None) -> RawAnswer:
    item = Item(
        content=f"picture {number}",
        group=f"image {number}",
        is_unsafe=is_unsafe,
        category=None,
        concept=None,
    )
    return RawAnswer(item, whole, None)


def fitted(
    head: Sequence[float | None],
    unsafe: Sequence[bool],
    whole: Sequence[float | None],
    *,
    max_differing: float = 0.1,
    min_precision: float = 0.9,
    model: JudgementCalibration = PLAIN,
) -> FastPathCalibration:
    answers = [
        answer(number, is_unsafe=label, whole=p)
        for number, (label, p) in enumerate(zip(unsafe, whole, strict=True))
    ]
    sure = SureSettings(max_differing=max_differing, min_precision=min_precision)
    return fit_fast_path(HeadAnswers("head", list(head)), answers, model, sure, SETTINGS)


# 40 safe pictures from .02 on and 40 unsafe ones from .60 on, all told apart by the head.
SCORES = [*np.linspace(0.02, 0.40, 40), *np.linspace(0.60, 0.98, 40)]
LABELS = [False] * 40 + [True] * 40
RIGHT = [0.1] * 40 + [0.9] * 40


def applied(found: FastPathCalibration, raw: float) -> float:
    return found.judgement.apply(raw)


def test_where_all_agree_the_head_answers_about_everything() -> None:
    found = fitted(SCORES, LABELS, RIGHT)

    assert found.head == "head"
    assert found.allow_below == pytest.approx(applied(found, 0.40))
    assert found.block_above == pytest.approx(applied(found, 0.60))
    assert found.fitted is not None
    assert found.fitted.examples == 80
    assert found.fitted.wrong_allowed == found.fitted.wrong_blocked == 0
    assert found.fitted.differing == 0
    # A threshold is the outermost of one half of the pictures, so the other half may miss a few.
    assert 70 <= found.fitted.allowed + found.fitted.blocked <= 80


def test_thresholds_end_where_the_whole_model_begins_to_say_otherwise() -> None:
    """The whole model calls everything from .30 on unsafe: 2 of 30 are one tenth with one more."""
    whole = [0.1 if score < 0.30 else 0.9 for score in SCORES]
    found = fitted(SCORES, LABELS, whole)

    assert found.allow_below is not None
    below = [score for score in SCORES if applied(found, score) <= found.allow_below]
    differing = sum(score >= 0.30 for score in below)
    assert (differing + 1) / (len(below) + 1) <= 0.1
    assert differing >= 1
    assert (differing + 2) / (len(below) + 2) > 0.1
    assert found.block_above == pytest.approx(applied(found, 0.60))


def test_thresholds_end_where_the_labels_begin_to_say_otherwise() -> None:
    """Agreeing with a model that is wrong is not enough."""
    labels = [score >= 0.30 for score in SCORES]
    found = fitted(SCORES, labels, RIGHT)

    assert found.allow_below is not None
    below = [score for score in SCORES if applied(found, score) <= found.allow_below]
    assert max(below) < 0.35


@pytest.mark.parametrize("whole", [None, 0.5])
def test_a_picture_that_the_model_can_not_call_safe_speaks_against_allowing(
    whole: float | None,
) -> None:
    found = fitted(SCORES, LABELS, [whole] * 40 + [0.9] * 40)

    assert found.allow_below is None
    assert found.block_above is not None


def test_the_models_label_is_that_of_its_calibrated_score() -> None:
    lifted = JudgementCalibration(bias=5.0)
    assert fitted(SCORES, LABELS, RIGHT, model=lifted).allow_below is None


def test_few_pictures_prove_nothing() -> None:
    """Eight without a miss still count as one miss in nine."""
    few = [*SCORES[:8], *SCORES[-8:]]
    found = fitted(few, [False] * 8 + [True] * 8, [0.1] * 8 + [0.9] * 8)

    assert (found.allow_below, found.block_above) == (None, None)
    assert found.fitted is not None
    assert found.fitted.allowed == found.fitted.blocked == 0


def test_pictures_of_the_same_score_are_taken_together() -> None:
    """Of 40 alike the last five are unsafe: no order of them may let the first 35 through."""
    head = [0.2] * 40 + [0.9] * 40
    unsafe = [False] * 35 + [True] * 45
    assert fitted(head, unsafe, RIGHT).allow_below is None


def test_pictures_about_which_the_head_says_nothing_are_left_to_the_model() -> None:
    head: list[float | None] = [*SCORES, None, None]
    found = fitted(head, [*LABELS, True, False], [*RIGHT, 0.9, 0.1])

    assert found.fitted is not None
    assert found.fitted.examples == 80


def test_cross_fitting_counts_what_thresholds_do_on_pictures_left_out() -> None:
    """Noise in the labels that no threshold can know shows up in the counts."""
    random = np.random.default_rng(0)
    labels = [bool(random.random() < score) for score in SCORES]
    whole = [0.9 if label else 0.1 for label in labels]
    found = fitted(SCORES, labels, whole, max_differing=0.3, min_precision=0.7)

    counts = found.fitted
    assert counts is not None
    assert counts.differing == counts.wrong_allowed + counts.wrong_blocked > 0
    assert (counts.max_differing, counts.min_precision) == (0.3, 0.7)


@pytest.mark.parametrize("wrong", [{"max_differing": 1.5}, {"min_precision": -0.1}])
def test_what_is_no_share_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CalibrationDataError, match=next(iter(wrong))):
        SureSettings(**wrong)


def says(p: float) -> FastReading:
    return FastReading(Risk((1.0 - p, p, 0.0, 0.0), {"Hate": p, CLEAN: 1.0 - p}))


class Reader:
    """Reads a picture's brightness; nothing usable in black ones."""

    version = "head"

    def __init__(self) -> None:
        self.is_closed = False

    async def read(self, image: Image.Image) -> FastReading:
        level = image.getpixel((0, 0))
        assert isinstance(level, tuple)
        return says(level[0] / 255 if level[0] else float("nan"))

    async def close(self) -> None:
        self.is_closed = True


async def test_the_head_is_asked_about_pictures_alone_and_let_go(tmp_path: Path) -> None:
    with (tmp_path / "manifest.jsonl").open("w") as manifest:
        for number, level in enumerate((0, 51, 204)):
            Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / f"{number}.png")
            line = {"id": f"p{number}", "file": f"{number}.png", "label": "Safe", "concept": ""}
            manifest.write(json.dumps(line) + "\n")
    images = read_image_set(tmp_path)
    reader = Reader()

    said = await ask_head(lambda: reader, images, picture_items(images.examples))

    assert said is not None
    assert said.head == "head"
    assert said.p_unsafe[0] is None
    assert said.p_unsafe[1:] == pytest.approx([head_p_unsafe(says(p).risk) for p in (0.2, 0.8)])
    assert reader.is_closed


async def test_a_model_without_such_a_head_has_no_thresholds(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    line = {"id": "a", "file": "a.png", "label": "Safe", "concept": ""}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line))
    images = read_image_set(tmp_path)

    def none() -> Reader:
        raise NoFastPathError("the model has no safety modules")

    assert await ask_head(none, images, picture_items(images.examples)) is None


def test_the_table_says_what_was_found_and_what_was_not() -> None:
    console = Console(width=160, record=True)
    console.print(fast_path_table(fitted(SCORES, LABELS, RIGHT)))
    console.print(fast_path_table(FastPathCalibration(head="other")))
    text = console.export_text()

    assert "0 of " in text
    assert "never" in text
    assert "unknown" in text
