"""The head's word beside the language model's: pooled in logits, in a verdict, in a version."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.concepts.calibration import Calibration, JudgementCalibration, ModalityCalibration
from server.concepts.head_score import head_p_unsafe, pooled
from server.concepts.risk import CLEAN, Risk
from server.concepts.verdict import Outcome, Reading, verdict_of

HALF = ModalityCalibration(head_share=0.5)
SAYS_SAFE = Reading(unsafe_mass=0.2, safe_mass=0.8)


def risk(p: float) -> Risk:
    return Risk((1 - p, 0.0, 0.0, p), {"Hate": p, CLEAN: 1 - p})


@pytest.mark.parametrize(
    ("said", "head", "share", "expected"),
    [
        (0.2, 0.8, 0.5, 0.5),
        (0.5, 0.9, 0.5, 0.75),  # odds of 9 become 3
        (0.2, 0.8, 0.0, 0.2),
        (0.2, 0.8, 1.0, 0.8),
        (0.2, None, 0.5, 0.2),
    ],
)
def test_two_words_are_pooled_by_their_odds(
    said: float, head: float | None, share: float, expected: float
) -> None:
    assert pooled(said, head, share) == pytest.approx(expected)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_pool_lies_between_what_was_said(said: float, head: float, share: float) -> None:
    found = pooled(said, head, share)
    assert math.isfinite(found)
    assert min(said, head) - 1e-6 <= found <= max(said, head) + 1e-6


def test_a_verdict_is_pooled_where_the_calibration_says_so() -> None:
    alone = verdict_of([SAYS_SAFE], None, min_answer_mass=0.1, risk=risk(0.99))
    both = verdict_of([SAYS_SAFE], None, min_answer_mass=0.1, risk=risk(0.99), calibration=HALF)

    assert (alone.outcome, both.outcome) == (Outcome.SAFE, Outcome.UNSAFE)
    assert both.p_unsafe == pytest.approx(pooled(0.2, head_p_unsafe(risk(0.99)), 0.5))
    assert both.raw is not None
    assert both.raw.p_unsafe == pytest.approx(0.2)


def test_what_is_pooled_is_calibrated_afterwards() -> None:
    moved = ModalityCalibration(head_share=0.5, judgement=JudgementCalibration(temperature=2.0))
    found = verdict_of([SAYS_SAFE], None, min_answer_mass=0.1, risk=risk(0.99), calibration=moved)
    assert found.p_unsafe == pytest.approx(
        moved.judgement.apply(pooled(0.2, head_p_unsafe(risk(0.99)), 0.5))
    )


@pytest.mark.parametrize("broken", [None, risk(math.nan)])
def test_without_a_usable_head_the_words_speak_alone(broken: Risk | None) -> None:
    found = verdict_of([SAYS_SAFE], None, min_answer_mass=0.1, risk=broken, calibration=HALF)
    assert found.p_unsafe == pytest.approx(0.2)


def test_a_head_makes_no_verdict_where_no_words_were_said() -> None:
    nothing = Reading(unsafe_mass=0.0, safe_mass=0.0)
    found = verdict_of([nothing], None, min_answer_mass=0.1, risk=risk(0.0), calibration=HALF)
    assert found.outcome is Outcome.UNDETERMINED


def test_a_share_is_part_of_the_version_and_no_share_is_not() -> None:
    plain = Calibration(
        revision="1", probes_version="1-a", active=("general_audience",), taxonomy_version="1-b"
    )
    assert "head_share" not in str(plain.versioned_content())
    assert plain.model_copy(update={"pictures": HALF}).version != plain.version
