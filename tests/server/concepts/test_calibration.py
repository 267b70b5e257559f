import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.concepts.calibration import (
    MAX_LOGIT,
    RAW,
    Calibration,
    JudgementCalibration,
    ModalityCalibration,
    NamesCalibration,
    logit,
    read_calibration,
    sigmoid,
)
from server.concepts.recognition import Recognition
from server.concepts.verdict import Outcome, Reading, Verdict, merge, verdict_of
from server.errors import CalibrationMismatchError, DataFileError

PROBABILITIES = st.floats(0.0, 1.0)
JUDGEMENTS = st.builds(
    JudgementCalibration, temperature=st.floats(0.05, 50.0), bias=st.floats(-10.0, 10.0)
)
SHARES = st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=10)


def content(**changes: Any) -> dict[str, Any]:
    calibration = Calibration(
        revision="1", probes_version="1-a", active=("general_audience",), taxonomy_version="1-b"
    )
    return calibration.model_dump(mode="json") | changes


def write(folder: Path, value: object) -> Path:
    path = folder / "calibration.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("p", "temperature", "bias", "expected"),
    [
        (0.9, 2.0, 0.0, 0.75),  # odds of 9 become 3
        (0.2, 0.5, 0.0, 1 / 17),  # odds of 1/4 become 1/16
        (0.5, 3.0, math.log(4), 0.8),
        (0.75, 1.0, -math.log(3), 0.5),
    ],
)
def test_a_judgement_is_calibrated_on_its_odds(
    p: float, temperature: float, bias: float, expected: float
) -> None:
    assert JudgementCalibration(temperature=temperature, bias=bias).apply(p) == pytest.approx(
        expected
    )


@given(PROBABILITIES, PROBABILITIES, JUDGEMENTS)
def test_calibration_never_swaps_two_judgements(
    one: float, other: float, calibration: JudgementCalibration
) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= calibration.apply(low) <= calibration.apply(high) <= 1.0


@given(PROBABILITIES)
def test_without_fitted_values_a_judgement_is_untouched(p: float) -> None:
    assert JudgementCalibration().apply(p) == p


@given(st.floats(-MAX_LOGIT, MAX_LOGIT))
def test_logit_and_sigmoid_undo_each_other(z: float) -> None:
    assert logit(sigmoid(z)) == pytest.approx(z, abs=1e-6)


def test_certainty_stays_finite() -> None:
    assert (logit(1.0), logit(0.0)) == (MAX_LOGIT, -MAX_LOGIT)


def test_names_are_tempered() -> None:
    assert NamesCalibration(temperature=2.0).apply([0.64, 0.36]) == pytest.approx([8 / 14, 6 / 14])
    assert NamesCalibration(temperature=0.5).apply([0.6, 0.2]) == pytest.approx([0.9, 0.1])


@given(SHARES, st.floats(0.05, 50.0).filter(lambda temperature: temperature != 1.0))
def test_tempering_keeps_the_order_of_names(shares: list[float], temperature: float) -> None:
    tempered = NamesCalibration(temperature=temperature).apply(shares)
    assert math.fsum(tempered) == pytest.approx(1.0)
    order = sorted(range(len(shares)), key=lambda index: shares[index])
    assert all(tempered[low] <= tempered[high] for low, high in pairwise(order))


def test_shares_of_nothing_stay_nothing() -> None:
    assert NamesCalibration(temperature=2.0).apply([0.0, 0.0]) == [0.0, 0.0]


def test_concepts_that_were_not_asked_about_are_left_alone() -> None:
    calibration = ModalityCalibration(
        categories=NamesCalibration(temperature=2.0), concepts=NamesCalibration(temperature=2.0)
    )
    tempered = calibration.recognition(Recognition({"Hate": 0.64}, 0.36))
    assert tempered.categories == pytest.approx({"Hate": 8 / 14})
    assert (tempered.concepts, tempered.no_concept) == ({}, 1.0)


CALIBRATED = ModalityCalibration(
    judgement=JudgementCalibration(temperature=2.0, bias=-math.log(4)),
    categories=NamesCalibration(temperature=0.5),
)
SEEN = Recognition({"Hate": 0.4, "Violence": 0.2}, 0.4)


def test_a_verdict_is_made_of_calibrated_scores_and_keeps_the_raw_ones() -> None:
    verdict = verdict_of([Reading(0.9, 0.1)], SEEN, min_answer_mass=0.05, calibration=CALIBRATED)

    assert verdict.outcome is Outcome.SAFE  # odds of 9 became 3/4
    assert verdict.p_unsafe == pytest.approx(3 / 7)
    assert verdict.categories == pytest.approx({"Hate": 3 / 7, "Violence": 3 / 28})
    assert verdict.recognition is not None
    assert verdict.recognition.categories == pytest.approx({"Hate": 4 / 9, "Violence": 1 / 9})
    assert verdict.raw is not None
    assert verdict.raw.p_unsafe == pytest.approx(0.9)
    assert verdict.raw.recognition is SEEN


def test_no_answer_is_not_calibrated_into_one() -> None:
    verdict = verdict_of([Reading(0.0, 0.0)], None, min_answer_mass=0.05, calibration=CALIBRATED)
    assert (verdict.outcome, verdict.p_unsafe) == (Outcome.UNDETERMINED, None)


def test_the_identity_changes_nothing_at_all() -> None:
    plain = verdict_of([Reading(0.7, 0.2)], SEEN, min_answer_mass=0.05)
    assert verdict_of([Reading(0.7, 0.2)], SEEN, min_answer_mass=0.05, calibration=RAW) == plain
    assert plain.raw is None


@given(st.permutations([0.1, 0.45, 0.45, 0.8]))
def test_merged_verdicts_keep_the_raw_scores_of_the_most_unsafe_one(masses: list[float]) -> None:
    parts: list[Verdict] = [
        verdict_of([Reading(mass, 1 - mass)], SEEN, min_answer_mass=0.05, calibration=CALIBRATED)
        for mass in masses
    ]
    merged = merge(parts)
    assert merged.raw is not None
    assert merged.raw.p_unsafe == pytest.approx(0.8)
    assert merged.p_unsafe == max(part.p_unsafe for part in parts if part.p_unsafe is not None)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    value = content(pictures={"judgement": {"temperature": 2, "bias": 0.5}})
    calibration = read_calibration(write(tmp_path, value))
    assert calibration.pictures.judgement == JudgementCalibration(temperature=2.0, bias=0.5)
    assert calibration.words == RAW


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"pictures": {"judgement": {"temperature": 0.0}}}, "pictures.judgement.temperature"),
        ({"pictures": {"judgement": {"temperature": -1.0}}}, "pictures.judgement.temperature"),
        ({"words": {"judgement": {"bias": 1e9}}}, "words.judgement.bias"),
        ({"words": {"categories": {"bias": 0.1}}}, "words.categories.bias"),
        ({"active": []}, "active"),
        ({"probes_version": None}, "probes_version"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_malformed_file_is_refused_by_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(DataFileError) as raised:
        read_calibration(write(tmp_path, content(**changes)))
    assert any(problem.startswith(f"{field}: ") for problem in raised.value.problems)


def test_the_version_tells_values_apart_and_not_how_they_were_found(tmp_path: Path) -> None:
    plain = read_calibration(write(tmp_path, content()))
    moved = read_calibration(write(tmp_path, content(pictures={"judgement": {"bias": 0.1}})))
    fitted = {
        "data": "set",
        "data_sha256": "0" * 64,
        "split": "validation",
        "seed": 1,
        "folds": 5,
        "groups": [],
    }
    noted = read_calibration(write(tmp_path, content(fitted=fitted)))
    assert plain.version == noted.version != moved.version


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"probes_version": "2-a"}, "probes"),
        ({"active": ("harm_free",)}, "questions"),
        ({"taxonomy_version": "2-b"}, "taxonomy"),
    ],
)
def test_other_questions_than_it_was_fitted_for_are_refused(
    change: dict[str, Any], what: str
) -> None:
    calibration = Calibration.model_validate_json(json.dumps(content()))
    asked: dict[str, Any] = {
        "probes_version": "1-a",
        "active": ("general_audience",),
        "taxonomy_version": "1-b",
    }
    calibration.require_fit(**asked)
    with pytest.raises(CalibrationMismatchError) as raised:
        calibration.require_fit(**(asked | change))
    assert raised.value.what == what
