import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import server.serving_engine
from alignment.__main__ import app
from alignment.calibration.answers import picture_items, words_items
from alignment.calibration.calibrate import (
    ask_model,
    calibration_file,
    fit_all,
    fitting_split,
    write_calibration,
)
from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.groups import FitSettings
from alignment.data.manifest import Example, ImageSet, read_image_set
from server.concepts.calibration import (
    RAW,
    Calibration,
    JudgementCalibration,
    ModalityCalibration,
    read_calibration,
)
from server.concepts.probes import load_probes
from server.concepts.recognition import Recognition
from server.concepts.risk import CLEAN, Risk
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.moderator import Moderator

TAXONOMY = load_taxonomy()
CONCEPTS = ("Arson", "Swastika", "Torture", "Robbery", "SS-Runes")
PICTURES = 60
SETTINGS = FitSettings(folds=3, seed=1, resamples=20)


def line(number: int) -> dict[str, str]:
    unsafe = number % 3 == 0
    return {
        "id": f"p{number}",
        "file": f"{number}.png",
        "label": "Unsafe" if unsafe else "Safe",
        "concept": CONCEPTS[number // 3 % len(CONCEPTS)] if unsafe else f"thing {number}",
        "caption": f"{'a fire' if unsafe else 'a boat'} number {number}",
        "split": "test" if number >= 48 else "train",
    }


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(PICTURES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    lines = (json.dumps(line(number)) + "\n" for number in range(PICTURES))
    (folder / "manifest.jsonl").write_text("".join(lines))
    return read_image_set(folder)


def oversure(question: Question) -> Answer:
    """Right five times of six, and always as sure as 0.99 of P(unsafe); words are always right."""
    if question.image is not None:
        number = question.image.getpixel((0, 0))[0]
        says_unsafe = (number % 3 == 0) != (number % 6 == 5 or number % 18 == 0)
    else:
        says_unsafe = any(word in question.text for word in ("fire", *CONCEPTS))
    p_unsafe = 0.99 if says_unsafe else 0.01
    share = 0.9 if says_unsafe else 0.05
    return Answer(
        {"yes": 1 - p_unsafe, "no": p_unsafe},
        Recognition(
            {**dict.fromkeys(TAXONOMY.category_names, 0.0), "Hate": share},
            1 - share,
            {**dict.fromkeys(TAXONOMY.concept_names, 0.0), "Swastika": share},
            1 - share,
        ),
    )


def engine(answers: Any = oversure, *, has_rows: bool = True) -> StubEngine:
    return StubEngine(answers, card=ModelCard("stub", "0" * 12, has_recognition=has_rows))


def example(**fields: str) -> Example:
    base = {"id": "a", "file": "a.png", "label": "Unsafe", "concept": "Arson"}
    return Example.model_validate(base | fields)


async def ask(images: ImageSet, stub: StubEngine) -> Any:
    planned: list[int] = []
    answered: list[None] = []
    asked = await ask_model(
        stub,
        load_probes(),
        images,
        words="both",
        on_planned=planned.append,
        on_answer=lambda: answered.append(None),
    )
    assert planned == [len(answered)]
    return asked


def test_the_test_split_is_refused(images: ImageSet) -> None:
    with pytest.raises(CalibrationDataError, match="test split"):
        fitting_split(images, "test")


def test_the_validation_split_is_cut_from_train(images: ImageSet) -> None:
    chosen = fitting_split(images, "validation")
    assert {one.split for one in chosen.examples} == {"validation"}
    assert {one.id for one in chosen.examples} < {one.id for one in images.split("train")}


def test_an_empty_split_is_refused(images: ImageSet) -> None:
    with pytest.raises(CalibrationDataError, match="no examples"):
        fitting_split(images, "nonsense")


def test_pictures_that_only_hint_do_not_count_for_names() -> None:
    weak, clear, unknown, safe = picture_items(
        [
            example(proxy="weak"),
            example(group="g"),
            example(concept=""),
            example(label="Safe", concept="boat"),
        ]
    )
    assert (weak.category, weak.concept, weak.is_unsafe) == (None, None, True)
    assert (clear.category, clear.concept) == ("Illegal activity", "Arson")
    assert (unknown.category, unknown.concept) == (None, None)
    assert (safe.category, safe.concept) == ("none", "none")
    assert (clear.group, safe.group) == ("group g", "image a")


def test_words_are_asked_about_once_and_not_where_they_say_both() -> None:
    examples = [
        example(id="1", caption="a sign"),
        example(id="2", caption="smoke", proxy="weak"),
        example(id="3", label="Safe", concept="shop", caption="a sign"),
    ]
    items = {item.content: item for item in words_items(examples, "both")}
    assert set(items) == {"Arson", "smoke", "shop"}
    assert items["Arson"].concept == "Arson"
    assert items["smoke"].concept is None
    assert items["smoke"].group == items["Arson"].group
    assert {item.content for item in words_items(examples, "concept")} == {"Arson", "shop"}


async def test_raw_scores_are_fitted_even_where_a_calibration_is_carried(images: ImageSet) -> None:
    stub = engine()
    carried = Calibration(
        revision="1",
        probes_version=load_probes().version,
        active=load_probes().active,
        taxonomy_version=TAXONOMY.version,
        pictures=ModalityCalibration(judgement=JudgementCalibration(bias=1.0)),
    )
    stub.card = replace(stub.card, calibration=carried)
    asked = await ask(fitting_split(images, "train"), stub)
    assert {answer.p_unsafe for answer in asked.pictures} == {0.99, 0.01}
    assert "+calibration" not in asked.model_version
    assert not stub.is_started


async def test_an_oversure_model_is_made_as_sure_as_it_is_right(
    images: ImageSet, tmp_path: Path
) -> None:
    train = fitting_split(images, "train")
    fit = fit_all(await ask(train, engine()), SETTINGS)

    judgement = fit.pictures.judgement
    assert judgement.examples == 48
    assert judgement.values.temperature > 2.0
    assert judgement.after.ece.value is not None
    assert judgement.before.ece.value is not None
    assert judgement.after.ece.value < judgement.before.ece.value
    assert judgement.after.log_loss < judgement.before.log_loss
    assert judgement.after.accuracy == judgement.before.accuracy

    path = tmp_path / "vlm" / "calibration.json"
    calibration = calibration_file(fit, load_probes(), train, "train", SETTINGS)
    write_calibration(calibration, path)
    assert read_calibration(path) == calibration
    assert calibration.fitted is not None
    assert [group.group for group in calibration.fitted.groups] == [
        "pictures.judgement",
        "pictures.categories",
        "pictures.concepts",
        "words.judgement",
        "words.categories",
        "words.concepts",
    ]
    assert calibration.fitted.data_sha256 == train.sha256

    served = StubEngine(
        oversure, card=ModelCard("s", "0" * 12, has_recognition=True, calibration=calibration)
    )
    await served.start()
    verdict = (
        await Moderator(served, load_probes()).judge_image(Image.new("RGB", (8, 8), (3, 0, 0)))
    ).verdict
    assert verdict.p_unsafe == judgement.values.apply(0.99)


async def test_a_head_that_is_right_where_words_are_not_makes_the_fit_better(
    images: ImageSet,
) -> None:
    def with_head(question: Question) -> Answer:
        answer = oversure(question)
        if question.image is None:
            return answer
        p = 0.95 if question.image.getpixel((0, 0))[0] % 3 == 0 else 0.05
        types = dict.fromkeys(TAXONOMY.category_names, 0.0) | {"Hate": p, CLEAN: 1 - p}
        return replace(answer, risk=Risk((1 - p, p, 0.0, 0.0), types))

    train = fitting_split(images, "train")
    asked = await ask(train, engine(with_head))
    alone, both = fit_all(asked, SETTINGS), fit_all(asked.pooled(0.6), SETTINGS)

    assert both.pictures.judgement.after.log_loss < alone.pictures.judgement.after.log_loss
    assert both.pictures.values.head_share == 0.6
    assert alone.pictures.values.head_share == 0.0
    assert both.words is not None
    assert both.words.values.head_share == 0.0


async def test_a_model_that_recognises_nothing_is_calibrated_on_its_judgement(
    images: ImageSet,
) -> None:
    def judges_only(question: Question) -> Answer:
        if question.options == ("yes", "no"):
            return Answer(oversure(question).option_mass)
        return Answer({})

    train = fitting_split(images, "train")
    fit = fit_all(await ask(train, engine(judges_only, has_rows=False)), SETTINGS)
    assert fit.pictures.categories is None
    assert fit.pictures.values.categories == RAW.categories
    assert fit.pictures.values.judgement != RAW.judgement


async def test_inputs_without_an_answer_are_counted_and_left_out(images: ImageSet) -> None:
    def sometimes(question: Question) -> Answer:
        if question.image is not None and question.image.getpixel((0, 0))[0] % 4 == 0:
            return Answer({"yes": 0.0, "no": 0.0})
        return oversure(question)

    fit = fit_all(await ask(fitting_split(images, "train"), engine(sometimes)), SETTINGS)
    assert (fit.pictures.judgement.examples, fit.pictures.judgement.no_answer) == (36, 12)


async def test_too_little_to_fit_on_names_the_group(images: ImageSet) -> None:
    few = images.with_examples(images.examples[:9])
    with pytest.raises(CalibrationDataError, match=r"pictures\.judgement: 5 folds"):
        fit_all(await ask(few, engine()), FitSettings(folds=5, resamples=2))


async def test_what_is_right_already_is_left_alone(images: ImageSet) -> None:
    def exact(question: Question) -> Answer:
        says_unsafe = oversure(question).option_mass["no"] > 0.5
        p_unsafe = 13 / 21 if says_unsafe else 3 / 27  # as often as they are unsafe
        share = {"Hate": p_unsafe}
        return Answer({"yes": 1 - p_unsafe, "no": p_unsafe}, Recognition(share, 1 - p_unsafe))

    train = fitting_split(images, "train")
    asked = await ask(train, engine(exact))
    found = {
        p: [one.item.is_unsafe for one in asked.pictures if one.p_unsafe == pytest.approx(p)]
        for p in (13 / 21, 3 / 27)
    }
    assert {p: sum(labels) / len(labels) for p, labels in found.items()} == pytest.approx(
        {p: p for p in found}
    )
    judgement = fit_all(replace(asked, words=[]), SETTINGS).pictures.judgement
    assert judgement.values == JudgementCalibration()
    assert judgement.after == judgement.before


async def test_words_need_not_be_asked_about(images: ImageSet) -> None:
    train = fitting_split(images, "train")
    asked = await ask(train, engine())
    fit = fit_all(replace(asked, words=[]), SETTINGS)
    assert fit.words is None
    assert calibration_file(fit, load_probes(), train, "train", SETTINGS).words == RAW
    assert words_items(train.examples, "none") == []


def test_the_command_prints_both_tables_and_writes_the_file(
    images: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server.serving_engine, "make_engine", lambda settings: engine())
    monkeypatch.setenv("COLUMNS", "140")
    out = tmp_path / "calibration.json"
    options = ["--split", "train", "--folds", "3", "--resamples", "10", "--out", str(out)]
    app(["calibrate", str(images.folder), *options], result_action="return_value")

    said = capsys.readouterr().out
    assert "pictures.judgement" in said
    assert "after: cross-fitted" in said
    assert "highest" in said
    assert read_calibration(out).pictures != ModalityCalibration()
