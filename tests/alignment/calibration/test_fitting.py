import math

import numpy as np
import pytest

from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.fitting import (
    applied_judgement,
    applied_names,
    bias_helps,
    cross_fitted_judgement,
    cross_fitted_names,
    fit_judgement,
    fit_names,
    folds_of,
)
from alignment.calibration.scoring import calibration_error
from server.concepts.calibration import JudgementCalibration, NamesCalibration


def said_and_true(*groups: tuple[float, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For each (p, unsafe, safe): so many examples of either label that got this p."""
    is_unsafe = [label for _, unsafe, safe in groups for label in [True] * unsafe + [False] * safe]
    p = [p for p, unsafe, safe in groups for _ in range(unsafe + safe)]
    return np.array(is_unsafe, dtype=np.bool_), np.array(p, dtype=np.float64)


def test_odds_that_are_squared_are_fitted_by_a_temperature_of_two() -> None:
    # Odds of 9 where 3 would be right, at both ends: logit(0.9) = 2 * logit(0.75).
    is_unsafe, p = said_and_true((0.9, 7500, 2500), (0.1, 2500, 7500))

    fitted = fit_judgement(is_unsafe, p, has_bias=True)

    assert fitted.temperature == pytest.approx(2.0, abs=0.002)
    assert fitted.bias == pytest.approx(0.0, abs=0.002)
    assert applied_judgement(fitted, np.array([0.9])) == pytest.approx(0.75, abs=1e-3)


def test_odds_that_are_too_low_throughout_are_fitted_by_a_bias() -> None:
    # 1/2 where 2/3 would be right, 1/3 where 1/2 would be: odds are half of what they should be.
    is_unsafe, p = said_and_true((1 / 2, 6000, 3000), (1 / 3, 5000, 5000))

    fitted = fit_judgement(is_unsafe, p, has_bias=True)

    assert fitted.temperature == pytest.approx(1.0, abs=0.003)
    assert fitted.bias == pytest.approx(math.log(2), abs=0.003)


def test_known_values_are_recovered_from_drawn_labels() -> None:
    random = np.random.default_rng(7)
    p = 1 / (1 + np.exp(-random.normal(0.0, 3.0, size=40_000)))
    right = applied_judgement(JudgementCalibration(temperature=2.5, bias=-0.8), p)
    is_unsafe = random.random(p.size) < right

    fitted = fit_judgement(is_unsafe, p, has_bias=True)

    assert fitted.temperature == pytest.approx(2.5, rel=0.05)
    assert fitted.bias == pytest.approx(-0.8, abs=0.05)


def test_without_a_bias_there_is_none() -> None:
    is_unsafe, p = said_and_true((0.5, 60, 30), (0.3, 50, 50))
    assert fit_judgement(is_unsafe, p, has_bias=False).bias == 0.0


def test_labels_that_one_threshold_separates_do_not_make_it_infinitely_sure() -> None:
    is_unsafe, p = said_and_true((0.9, 20, 0), (0.1, 0, 20))

    fitted = fit_judgement(is_unsafe, p, has_bias=True)

    # As sure as Platt's targets, 21 of 22.
    assert applied_judgement(fitted, np.array([0.1, 0.9])) == pytest.approx([1 / 22, 21 / 22])


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(CalibrationDataError, match="one label"):
        fit_judgement(np.array([True, True]), np.array([0.4, 0.6]), has_bias=True)


def test_a_model_that_orders_backwards_is_made_unsure_and_not_turned_round() -> None:
    is_unsafe, p = said_and_true((0.9, 20, 80), (0.1, 80, 20))
    low, high = applied_judgement(fit_judgement(is_unsafe, p, has_bias=True), np.array([0.1, 0.9]))
    assert low < high
    assert (low, high) == (pytest.approx(0.5, abs=0.05), pytest.approx(0.5, abs=0.05))


def test_a_bias_is_taken_where_it_helps_on_what_was_left_out() -> None:
    skewed = said_and_true((0.5, 600, 200), (0.2, 300, 300))
    groups = [str(index) for index in range(skewed[0].size)]
    folds = folds_of(groups, skewed[0], folds=5, seed=1)
    assert bias_helps(*skewed, folds)


def test_names_are_tempered_until_their_shares_come_true() -> None:
    # The likeliest of two names is said to have odds of 9 and has odds of 3.
    shares = np.tile([0.9, 0.1], (8000, 1))
    truth = np.array([0] * 6000 + [1] * 2000)

    fitted = fit_names(shares, truth)

    assert fitted.temperature == pytest.approx(2.0, abs=0.002)
    assert applied_names(fitted, shares[:1])[0] == pytest.approx([0.75, 0.25], abs=1e-3)


def test_names_that_were_not_asked_about_change_nothing() -> None:
    shares, truth = np.tile([0.9, 0.1], (800, 1)), np.array([0] * 600 + [1] * 200)
    wider = np.column_stack([shares, np.zeros(800)])
    assert fit_names(wider, truth).temperature == pytest.approx(
        fit_names(shares, truth).temperature, rel=1e-5
    )


def test_names_that_are_always_right_stay_within_reason() -> None:
    fitted = fit_names(np.tile([0.8, 0.2], (50, 1)), np.zeros(50, dtype=np.intp))
    assert 0.05 < fitted.temperature < 1.0


def test_folds_keep_groups_together_and_labels_even() -> None:
    groups = [f"group {index // 2}" for index in range(100)]
    labels = np.array([index // 2 % 5 == 0 for index in range(100)])

    folds = folds_of(groups, labels, folds=5, seed=3)

    for index in range(0, 100, 2):
        assert folds[index] == folds[index + 1]
    assert np.bincount(folds).tolist() == [20] * 5
    assert np.bincount(folds[labels]).tolist() == [4] * 5
    assert (folds == folds_of(groups, labels, folds=5, seed=3)).all()
    assert (folds != folds_of(groups, labels, folds=5, seed=4)).any()


def test_too_few_groups_of_a_label_are_refused() -> None:
    labels = np.array([True] * 4 + [False] * 40)
    with pytest.raises(CalibrationDataError, match="the rarer one has 4"):
        folds_of([str(index) for index in range(44)], labels, folds=5, seed=1)


def test_cross_fitting_never_sees_its_own_fold() -> None:
    is_unsafe, p = said_and_true((0.8, 30, 20), (0.3, 15, 35))
    folds = folds_of([str(i) for i in range(100)], is_unsafe, folds=5, seed=1)
    before = cross_fitted_judgement(is_unsafe, p, folds, has_bias=True)
    # Turning round one fold's labels must leave that fold's own values where they were.
    turned = np.where(folds == 0, ~is_unsafe, is_unsafe)
    after = cross_fitted_judgement(turned, p, folds, has_bias=True)
    assert after[folds == 0] == pytest.approx(before[folds == 0], abs=1e-12)
    assert not np.allclose(after[folds != 0], before[folds != 0])


def test_cross_fitting_lowers_the_error_of_an_overconfident_model() -> None:
    random = np.random.default_rng(5)
    z = random.normal(0.0, 2.0, size=2000)
    is_unsafe, p = random.random(2000) < 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-3 * z))
    folds = folds_of([str(index) for index in range(2000)], is_unsafe, folds=5, seed=1)
    after = cross_fitted_judgement(is_unsafe, p, folds, has_bias=True)
    before_error, after_error = calibration_error(is_unsafe, p), calibration_error(is_unsafe, after)
    assert before_error is not None
    assert after_error is not None
    assert after_error < 0.03 < 0.1 < before_error


def test_cross_fitted_names_sum_to_one() -> None:
    random = np.random.default_rng(2)
    shares = random.dirichlet(np.ones(4), size=100)
    truth = random.integers(4, size=100)
    folds = np.arange(100) % 5
    assert cross_fitted_names(shares, truth, folds).sum(axis=1) == pytest.approx(np.ones(100))


def test_what_is_measured_is_what_the_server_computes() -> None:
    judgement = JudgementCalibration(temperature=1.7, bias=0.2)
    assert applied_judgement(judgement, np.array([0.3]))[0] == judgement.apply(0.3)
    names = NamesCalibration(temperature=1.7)
    assert applied_names(names, np.array([[0.3, 0.7]]))[0].tolist() == names.apply([0.3, 0.7])
