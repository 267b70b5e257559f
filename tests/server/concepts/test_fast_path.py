"""What a safety head alone says, and where it may say it."""

import math

import pytest

from server.concepts.calibration import (
    Calibration,
    FastPathCalibration,
    JudgementCalibration,
)
from server.concepts.fast_path import (
    FastReading,
    SureBounds,
    fast_verdict,
    recognised,
)
from server.concepts.head_score import head_p_unsafe
from server.concepts.policy import Policy, default_policy
from server.concepts.recognition import Recognition
from server.concepts.risk import CLEAN, Risk
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import UNREAD, Outcome, merge

NAMES = load_taxonomy().category_names
PLAIN = JudgementCalibration()
FITTED = FastPathCalibration(head="h", allow_below=0.2, block_above=0.9)


def risk(level: float, type_: float, *, category: str = "Violence") -> Risk:
    """Unsafe with these probabilities by level and by type."""
    types = dict.fromkeys(NAMES, 0.0) | {category: type_, CLEAN: 1.0 - type_}
    return Risk((1.0 - level, level, 0.0, 0.0), types)


def policy(**fields: object) -> Policy:
    return default_policy().model_copy(update=fields)


@pytest.mark.parametrize(
    ("level", "type_", "expected"),
    [(0.5, 0.5, 0.5), (0.9, 0.9, 0.9), (0.9, 0.1, 0.5), (0.8, 0.5, 2 / 3), (1.0, 1.0, 1.0)],
)
def test_level_and_type_have_the_same_say(level: float, type_: float, expected: float) -> None:
    assert head_p_unsafe(risk(level, type_)) == pytest.approx(expected, abs=1e-6)


def test_a_share_that_rounding_lifts_above_one_does_no_harm() -> None:
    over = Risk((1.001, 0.0, 0.0, 0.0), {"Hate": 0.0, CLEAN: 1.001})
    assert 0.0 < head_p_unsafe(over) < 1e-6


def test_the_head_alone_gives_a_whole_verdict() -> None:
    said = risk(0.9, 0.9)
    seen = recognised(said, {"Gun violence": 0.6, "Knife attacks": 0.3}, 0.1)

    verdict = fast_verdict(FastReading(said, seen), PLAIN)

    assert verdict is not None
    assert verdict.outcome is Outcome.UNSAFE
    assert verdict.p_unsafe == pytest.approx(0.9)
    assert verdict.categories["Violence"] == pytest.approx(0.9)
    assert verdict.categories["Hate"] == 0.0
    assert CLEAN not in verdict.categories
    assert verdict.concepts == pytest.approx({"Gun violence": 0.9, "Knife attacks": 0.45})
    assert seen.no_category == pytest.approx(0.1)
    assert verdict.risk is said
    assert verdict.raw is None
    assert verdict.judged_by == {"safety_head"}


def test_calibration_moves_the_score_and_keeps_the_raw_one() -> None:
    verdict = fast_verdict(FastReading(risk(0.9, 0.9)), JudgementCalibration(temperature=2.0))

    assert verdict is not None
    assert verdict.p_unsafe == pytest.approx(0.75)
    assert verdict.raw is not None
    assert verdict.raw.p_unsafe == pytest.approx(0.9)


@pytest.mark.parametrize(
    "reading",
    [
        FastReading(Risk((math.nan,) * 4, dict.fromkeys((*NAMES, CLEAN), math.nan))),
        FastReading(Risk((0.9, 0.9, 0.0, 0.0), {"Hate": 0.0, CLEAN: 1.0})),
        FastReading(risk(0.1, 0.1), Recognition({"Hate": math.nan}, 0.0)),
    ],
)
def test_what_is_no_distribution_is_no_verdict(reading: FastReading) -> None:
    assert fast_verdict(reading, PLAIN) is None


@pytest.mark.parametrize(
    ("bounds", "sure", "unsure"),
    [
        (SureBounds(0.2, 0.9), (0.0, 0.2, 0.9, 1.0), (0.2001, 0.5, 0.8999, math.nan)),
        (SureBounds(0.2, None), (0.2,), (0.95, 1.0)),
        (SureBounds(None, 0.9), (0.9,), (0.0, 0.2)),
    ],
)
def test_bounds_are_part_of_what_they_cover(
    bounds: SureBounds, sure: tuple[float, ...], unsure: tuple[float, ...]
) -> None:
    assert all(bounds.covers(p) for p in sure)
    assert not any(bounds.covers(p) for p in unsure)


def test_the_shipped_policy_lets_the_head_say_nothing_alone() -> None:
    assert default_policy().fast_path == "off"
    assert default_policy().sure_bounds(FITTED) is None


def test_a_policy_may_let_the_head_allow_and_not_block() -> None:
    assert policy(fast_path="allow_only").sure_bounds(FITTED) == SureBounds(0.2, None)
    assert policy(fast_path="both").sure_bounds(FITTED) == SureBounds(0.2, 0.9)


@pytest.mark.parametrize("use", ["allow_only", "both"])
def test_thresholds_that_were_not_found_are_not_used(use: str) -> None:
    assert policy(fast_path=use).sure_bounds(FastPathCalibration(head="h")) is None


def test_nothing_that_a_policy_would_have_reviewed_is_decided_by_the_head() -> None:
    """Thresholds wider than the policy's are moved to it: review_at 0.3, block_at up to 0.8."""
    wide = FastPathCalibration(head="h", allow_below=0.45, block_above=0.55)
    bounds = policy(fast_path="both").sure_bounds(wide)

    assert bounds is not None
    assert not bounds.covers(0.3)
    assert bounds.covers(math.nextafter(0.3, 0.0))
    assert bounds.covers(0.8)
    assert not bounds.covers(math.nextafter(0.8, 0.0))
    for category in NAMES:
        for p, action in ((0.299, "allow"), (0.801, "block")):
            said = risk(p, p, category=category)
            verdict = fast_verdict(FastReading(said, recognised(said, {}, 1.0)), PLAIN)
            assert verdict is not None
            assert default_policy().decide(verdict).action == action


def test_a_merged_verdict_names_all_that_judged() -> None:
    fast = fast_verdict(FastReading(risk(0.1, 0.1)), PLAIN)
    assert fast is not None
    whole = fast_verdict(FastReading(risk(0.2, 0.2)), PLAIN)
    assert whole is not None
    object.__setattr__(whole, "judged_by", frozenset({"model"}))

    assert merge([fast, whole]).judged_by == {"model", "safety_head"}
    assert merge([fast, UNREAD]).judged_by == {"safety_head"}
    assert UNREAD.judged_by == frozenset()


def test_a_calibration_without_a_fast_path_keeps_its_version() -> None:
    plain = Calibration(
        revision="1", probes_version="1-a", active=("general_audience",), taxonomy_version="1-b"
    )
    fast = plain.model_copy(update={"fast_path": FITTED})
    moved = plain.model_copy(update={"fast_path": FITTED.model_copy(update={"allow_below": 0.1})})

    assert "fast_path" not in plain.versioned_content()
    assert len({plain.version, fast.version, moved.version}) == 3


@pytest.mark.parametrize("wrong", [{"allow_below": 0.5}, {"block_above": 0.49}, {"head": ""}])
def test_a_threshold_on_the_verdicts_other_side_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FastPathCalibration.model_validate({"head": "h"} | wrong)
