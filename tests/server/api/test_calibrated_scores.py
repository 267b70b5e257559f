"""What a calibration does to the endpoint's answers."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.api.app import create_app
from server.concepts.calibration import (
    Calibration,
    JudgementCalibration,
    ModalityCalibration,
    NamesCalibration,
)
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import ModelCard
from server.engine.stub import StubEngine
from server.errors import DataFileError
from server.settings import Settings

PROBES = load_probes()

HALVED = ModalityCalibration(
    judgement=JudgementCalibration(temperature=2.0),
    categories=NamesCalibration(temperature=0.5),
)


def calibration(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "revision": "test",
        "probes_version": PROBES.version,
        "active": PROBES.active,
        "taxonomy_version": load_taxonomy().version,
        "pictures": HALVED,
    }
    return Calibration(**(values | changes))


def carrying(engine: StubEngine, found: Calibration | None) -> StubEngine:
    engine.card = ModelCard(
        engine.card.id, engine.card.version, has_recognition=True, calibration=found
    )
    return engine


async def detail_of(client: httpx2.AsyncClient, given: Any) -> dict[str, Any]:
    response = await client.post(
        "/v1/moderations", json={"input": given, "sightward": {"detail": True}}
    )
    assert response.status_code == 200
    detail: dict[str, Any] = response.json()["results"][0]["sightward"]
    return detail


async def test_a_pictures_scores_are_calibrated_and_the_raw_ones_stay(
    connect: Any, engine: StubEngine, image_part: Any, unsafe_png: bytes
) -> None:
    async with connect(engine=carrying(engine, calibration())) as client:
        detail = await detail_of(client, [image_part(unsafe_png)])

    # The stub says 0.9 against 0.05: odds of 18, of which the square root is left.
    odds = 18**0.5
    assert detail["p_unsafe"] == pytest.approx(odds / (1 + odds))
    assert detail["categories"]["Violence"] == pytest.approx(odds / (1 + odds))
    # 0.8, eight times 0.01 and "none" with 0.12, all squared
    assert detail["recognised"]["category"]["probability"] == pytest.approx(
        0.64 / (0.64 + 8 * 0.0001 + 0.0144)
    )
    assert detail["raw"]["p_unsafe"] == pytest.approx(18 / 19)
    assert detail["raw"]["recognised"]["category"]["probability"] == pytest.approx(0.8)
    assert detail["model_version"].endswith(f"+calibration-{calibration().version}")


async def test_words_have_a_calibration_of_their_own(connect: Any, engine: StubEngine) -> None:
    async with connect(engine=carrying(engine, calibration())) as client:
        detail = await detail_of(client, "an attack")
    assert detail["p_unsafe"] == pytest.approx(18 / 19)


async def test_a_bias_moves_the_action(
    connect: Any, engine: StubEngine, image_part: Any, unsafe_png: bytes
) -> None:
    milder = ModalityCalibration(judgement=JudgementCalibration(bias=-3.5))
    async with connect(engine=carrying(engine, calibration(pictures=milder))) as client:
        detail = await detail_of(client, [image_part(unsafe_png)])
    assert detail["p_unsafe"] == pytest.approx(0.3521, abs=1e-4)
    assert (detail["outcome"], detail["action"]) == ("safe", "review")


@pytest.mark.parametrize("is_carried", [True, False])
async def test_the_identity_gives_the_raw_answer(
    connect: Any, engine: StubEngine, image_part: Any, unsafe_png: bytes, is_carried: bool
) -> None:
    async with connect() as client:
        plain = await detail_of(client, [image_part(unsafe_png)])
    identity = calibration(pictures=ModalityCalibration())
    settings = {} if is_carried else {"calibration": "none"}
    carried = identity if is_carried else calibration()
    async with connect(engine=carrying(engine, carried), **settings) as client:
        detail = await detail_of(client, [image_part(unsafe_png)])
    for varying in ("timings_ms", "model_version"):
        plain.pop(varying), detail.pop(varying)
    assert detail == plain


async def test_a_named_file_stands_in_for_the_models_own(
    connect: Any, engine: StubEngine, image_part: Any, unsafe_png: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(calibration(pictures=ModalityCalibration()).model_dump_json())
    async with connect(engine=carrying(engine, calibration()), calibration=str(path)) as client:
        detail = await detail_of(client, [image_part(unsafe_png)])
    assert detail["p_unsafe"] == pytest.approx(18 / 19)


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"probes_version": "0-old"}, "fitted for the probes 0-old"), ({"extra": 1}, "extra: ")],
)
def test_an_unusable_named_file_is_refused_before_any_model_loads(
    engine: StubEngine, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(calibration().model_dump(mode="json") | change))
    with pytest.raises(DataFileError, match=problem):
        create_app(Settings(calibration=path), engine=engine)


async def test_a_carried_file_for_other_questions_keeps_the_server_from_answering(
    connect: Any, engine: StubEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = carrying(engine, calibration(probes_version="0-old"))
    async with connect(engine=stale) as client:
        response = await client.post("/v1/moderations", json={"input": "a lake"})
    assert response.status_code == 503
    assert "fitted for the probes 0-old" in capsys.readouterr().out
