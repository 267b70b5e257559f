import json

import pytest

from server.cache.verdict_codec import VerdictCodec
from server.concepts.calibration import JudgementCalibration, ModalityCalibration
from server.concepts.fast_path import FastReading, fast_verdict
from server.concepts.recognition import Recognition
from server.concepts.risk import Risk
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import UNREAD, Reading, Verdict, merge, verdict_of


def recognition() -> Recognition:
    taxonomy = load_taxonomy()
    categories = {name: (1 + place) / 91 for place, name in enumerate(taxonomy.category_names)}
    concepts = {name: 1 / (3 + place) ** 2 for place, name in enumerate(taxonomy.concept_names)}
    return Recognition(
        categories, 1 - sum(categories.values()), concepts, 1 - sum(concepts.values())
    )


def risk() -> Risk:
    return Risk((0.7, 0.1, 0.1, 0.1), {"Hate": 0.25, "clean": 0.75})


def judged(unsafe_mass: float) -> Verdict:
    return verdict_of(
        [Reading(unsafe_mass, 0.1)],
        recognition(),
        min_answer_mass=0.05,
        calibration=ModalityCalibration(judgement=JudgementCalibration(temperature=1.7, bias=0.3)),
        risk=risk(),
    )


def fast() -> Verdict:
    verdict = fast_verdict(FastReading(risk()), JudgementCalibration())
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    "verdict",
    [
        judged(1 / 3),
        judged(1e-9),
        fast(),
        UNREAD,
        merge([judged(1 / 3), fast(), UNREAD]),
        verdict_of([Reading(0.1, 0.7)], None, min_answer_mass=0.05),
    ],
    ids=["calibrated", "tiny", "fast path", "unread", "merged", "without recognition"],
)
def test_what_is_decoded_is_what_was_encoded(verdict: Verdict) -> None:
    codec = VerdictCodec()
    assert codec.decode(codec.encode(verdict)) == verdict


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"not json", b"\xff", b"null"])
def test_what_was_not_encoded_is_no_verdict(payload: bytes) -> None:
    assert VerdictCodec().decode(payload) is None


@pytest.mark.parametrize("change", [{"p_unsafe": 7.0}, {"outcome": "safe"}, {"risk": {}}])
def test_a_verdict_that_could_not_exist_is_refused(change: dict[str, object]) -> None:
    codec = VerdictCodec()
    content = json.loads(codec.encode(judged(0.8))) | change
    assert codec.decode(json.dumps(content).encode()) is None
