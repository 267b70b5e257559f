"""Finding the temperature and bias under which a model's probabilities are the likeliest.

The judgement is fitted after Platt (1999): logistic regression on the logit, towards targets that
stop short of 0 and 1 by as much as so few examples allow, or labels that one threshold tells apart
would make it infinitely sure. Names are fitted after Guo et al. (2017), the logarithm of the
temperature held to 0 with the weight of about one example for the same reason.

Everything measured "after" comes from values fitted without the example's fold, and examples of one
group (near-duplicates) share a fold.

N examples, K names.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.scoring import Floats, Mask, log_loss
from server.concepts.calibration import (
    MAX_BIAS,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    JudgementCalibration,
    NamesCalibration,
    logit,
)

Folds = NDArray[np.intp]

_LEAST_SHARE = 1e-12


def folds_of(groups: Sequence[str], labels: Mask, *, folds: int, seed: int) -> Folds:
    """A fold in [0, folds) for each example (N), labels spread evenly, groups kept together.

    Raises `CalibrationDataError` unless every fold gets examples of either label.
    """
    label_of: dict[str, bool] = {}
    for group, label in zip(groups, labels.tolist(), strict=True):
        label_of.setdefault(group, label)
    fewest = min(Counter(label_of.values()).get(label, 0) for label in (True, False))
    if fewest < folds:
        raise CalibrationDataError(
            f"{folds} folds need as many groups of either label, the rarer one has {fewest}"
        )
    fold_of: dict[str, int] = {}
    for label in (True, False):
        alike = sorted(
            (group for group in label_of if label_of[group] is label),
            key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest(),
        )
        fold_of |= {group: index % folds for index, group in enumerate(alike)}
    return np.array([fold_of[group] for group in groups], dtype=np.intp)


def fit_judgement(is_unsafe: Mask, p_unsafe: Floats, *, has_bias: bool) -> JudgementCalibration:
    """The temperature, and the bias where `has_bias`, of the least log-loss on smoothed labels.

    The temperature is positive by construction, so the order of examples stays. Raises
    `CalibrationDataError` with one label alone.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    unsafe, safe = int(is_unsafe.sum()), int((~is_unsafe).sum())
    if not unsafe or not safe:
        raise CalibrationDataError("there are answers of one label alone")
    target = np.where(is_unsafe, (unsafe + 1) / (unsafe + 2), 1 / (safe + 2))
    z = np.array([logit(p) for p in p_unsafe.tolist()])

    def loss(values: Floats) -> tuple[float, Floats]:
        slope, bias = math.exp(-values[0]), float(values[1])
        margin = slope * z + bias
        # d/dmargin of log(1 + exp(margin)) - target * margin
        residual = _sigmoid(margin) - target
        gradient = np.array([float(np.mean(residual * -slope * z)), float(np.mean(residual))])
        return float(np.mean(np.logaddexp(0.0, margin) - target * margin)), gradient

    bias_bounds = (-MAX_BIAS, MAX_BIAS) if has_bias else (0.0, 0.0)
    found = minimize(
        loss,
        np.zeros(2),
        jac=True,
        method="L-BFGS-B",
        bounds=[(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)), bias_bounds],
        options={"ftol": 1e-13, "gtol": 1e-9},
    )
    temperature = min(MAX_TEMPERATURE, max(MIN_TEMPERATURE, math.exp(found.x[0])))
    return JudgementCalibration(temperature=temperature, bias=float(found.x[1]))


def fit_names(shares: Floats, truth: NDArray[np.intp]) -> NamesCalibration:
    """The temperature under which `shares` (N, K) make the `truth` (N, a column each) likeliest.

    A share of 0 stands for a name that was not asked about.
    """
    from scipy.optimize import minimize_scalar

    if not truth.size:
        raise CalibrationDataError("there are no answers to temper")
    was_asked = shares > 0.0
    log_shares = np.where(was_asked, np.log(np.maximum(shares, _LEAST_SHARE)), -np.inf)
    said = np.log(np.maximum(shares[np.arange(truth.size), truth], _LEAST_SHARE))

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        total = np.logaddexp.reduce(scale * log_shares, axis=1)
        return float(np.sum(total - scale * said)) + log_temperature**2 / 2

    found = minimize_scalar(
        loss,
        bounds=(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return NamesCalibration(temperature=math.exp(float(found.x)))


def applied_judgement(calibration: JudgementCalibration, p_unsafe: Floats) -> Floats:
    """The calibrated probabilities (N), exactly as the server computes them."""
    return np.array([calibration.apply(p) for p in p_unsafe.tolist()], dtype=np.float64)


def applied_names(calibration: NamesCalibration, shares: Floats) -> Floats:
    """The tempered shares (N, K), exactly as the server computes them."""
    return np.array([calibration.apply(row) for row in shares.tolist()], dtype=np.float64)


def cross_fitted_judgement(
    is_unsafe: Mask, p_unsafe: Floats, folds: Folds, *, has_bias: bool
) -> Floats:
    """Each example's calibrated probability (N), by values fitted on the other folds."""
    fitted = np.empty_like(p_unsafe)
    for fold in np.unique(folds):
        inside = folds == fold
        values = fit_judgement(is_unsafe[~inside], p_unsafe[~inside], has_bias=has_bias)
        fitted[inside] = applied_judgement(values, p_unsafe[inside])
    return fitted


def cross_fitted_names(shares: Floats, truth: NDArray[np.intp], folds: Folds) -> Floats:
    """Each example's tempered shares (N, K), by a temperature fitted on the other folds."""
    fitted = np.empty_like(shares)
    for fold in np.unique(folds):
        inside = folds == fold
        fitted[inside] = applied_names(fit_names(shares[~inside], truth[~inside]), shares[inside])
    return fitted


def bias_helps(is_unsafe: Mask, p_unsafe: Floats, folds: Folds) -> bool:
    """Whether a bias beside the temperature lowers the log-loss on examples not fitted on."""
    losses = [
        log_loss(is_unsafe, cross_fitted_judgement(is_unsafe, p_unsafe, folds, has_bias=has_bias))
        for has_bias in (True, False)
    ]
    with_bias, without = losses
    return with_bias is not None and without is not None and with_bias < without


def _sigmoid(margin: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -margin)), dtype=np.float64)
