"""One group's calibration: its values, and how far off it was before and after.

A group is a judgement (yes or no) or names (which category, which concept), about pictures or about
words. For names, "likely" is the share of the likeliest name and "true" whether that is the right
one; the Brier score is over all names, in [0, 2]. Values that don't lower the log-loss of answers
they were not fitted on are left out: then the group stays as the model gave it.

N answers, K names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from alignment.bootstrap import Bootstrap, Estimate
from alignment.calibration.answers import NONE, RawAnswer
from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.fitting import (
    bias_helps,
    cross_fitted_judgement,
    cross_fitted_names,
    fit_judgement,
    fit_names,
    folds_of,
)
from alignment.calibration.scoring import (
    Floats,
    Mask,
    Threshold,
    balanced_accuracy,
    best_threshold,
    brier,
    calibration_error,
    error_by_chance,
    log_loss,
)
from server.concepts.calibration import GroupName, JudgementCalibration, NamesCalibration

Values = TypeVar("Values", JudgementCalibration, NamesCalibration)
NamesOf = Literal["categories", "concepts"]

SERVED_THRESHOLD = 0.5
"""Where the server's verdict turns."""

_LEAST_SHARE = 1e-7


@dataclass(frozen=True, slots=True)
class Quality:
    """How good probabilities are; `ece_by_chance` is what right ones would show.

    Draws with repetition scatter more than the data, so the interval of a small `ece` lies high and
    may lie above it. `accuracy` is balanced over the labels, at the served threshold, for a
    judgement; for names it is the share of likeliest names that are right. `best` is of the
    judgement alone.
    """

    ece: Estimate
    ece_by_chance: float
    brier: float
    log_loss: float
    accuracy: float
    best: Threshold | None


@dataclass(frozen=True, slots=True)
class GroupFit(Generic[Values]):
    """A group's values, fitted on all its answers, and its quality by cross-fitting."""

    group: GroupName
    values: Values
    examples: int
    no_answer: int
    before: Quality
    after: Quality


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How values are fitted and their quality is measured."""

    folds: int = 5
    seed: int = 2024
    resamples: int = 1000


def fit_judgement_group(
    group: GroupName, answers: Sequence[RawAnswer], settings: FitSettings
) -> GroupFit[JudgementCalibration]:
    """Fit P(unsafe); raises `CalibrationDataError` where there is too little to fit on."""
    said = [answer for answer in answers if answer.p_unsafe is not None]
    is_unsafe = np.array([answer.item.is_unsafe for answer in said], dtype=np.bool_)
    p_unsafe = np.array([answer.p_unsafe for answer in said], dtype=np.float64)
    groups = [answer.item.group for answer in said]
    folds = _folds(group, groups, is_unsafe, settings)
    has_bias = bias_helps(is_unsafe, p_unsafe, folds)
    after = cross_fitted_judgement(is_unsafe, p_unsafe, folds, has_bias=has_bias)
    values = fit_judgement(is_unsafe, p_unsafe, has_bias=has_bias)
    if not _is_less(log_loss(is_unsafe, after), log_loss(is_unsafe, p_unsafe)):
        values, after = JudgementCalibration(), p_unsafe
    bootstrap = Bootstrap(groups, seed=settings.seed, resamples=settings.resamples)
    return GroupFit(
        group=group,
        values=values,
        examples=len(said),
        no_answer=len(answers) - len(said),
        before=_judgement_quality(is_unsafe, p_unsafe, bootstrap, settings.seed),
        after=_judgement_quality(is_unsafe, after, bootstrap, settings.seed),
    )


def fit_names_group(
    group: GroupName, names_of: NamesOf, answers: Sequence[RawAnswer], settings: FitSettings
) -> GroupFit[NamesCalibration] | None:
    """Fit what is recognised; None where the model recognises nothing of that kind.

    Raises `CalibrationDataError` where there is too little to fit on.
    """
    named = [answer for answer in answers if _right(answer, names_of) is not None]
    said = [answer for answer in named if _right(answer, names_of) in _shares(answer, names_of)]
    if not said:
        return None
    columns = sorted({name for answer in said for name in _shares(answer, names_of)})
    place = {name: index for index, name in enumerate(columns)}
    shares = np.zeros((len(said), len(columns)), dtype=np.float64)
    for row, answer in zip(shares, said, strict=True):
        for name, share in _shares(answer, names_of).items():
            row[place[name]] = share
    truth = np.array([place[_right(answer, names_of) or NONE] for answer in said], dtype=np.intp)
    groups = [answer.item.group for answer in said]
    is_unsafe = np.array([answer.item.is_unsafe for answer in said], dtype=np.bool_)
    folds = _folds(group, groups, is_unsafe, settings)
    bootstrap = Bootstrap(groups, seed=settings.seed, resamples=settings.resamples)
    values, after = fit_names(shares, truth), cross_fitted_names(shares, truth, folds)
    if not _is_less(_names_log_loss(after, truth), _names_log_loss(shares, truth)):
        values, after = NamesCalibration(), shares
    return GroupFit(
        group=group,
        values=values,
        examples=len(said),
        no_answer=len(named) - len(said),
        before=_names_quality(shares, truth, bootstrap, settings.seed),
        after=_names_quality(after, truth, bootstrap, settings.seed),
    )


def _folds(
    group: GroupName, groups: Sequence[str], is_unsafe: Mask, settings: FitSettings
) -> NDArray[np.intp]:
    try:
        return folds_of(groups, is_unsafe, folds=settings.folds, seed=settings.seed)
    except CalibrationDataError as error:
        raise CalibrationDataError(f"{group}: {error.reason}") from error


def _judgement_quality(
    is_unsafe: Mask, p_unsafe: Floats, bootstrap: Bootstrap, seed: int
) -> Quality:
    return Quality(
        ece=bootstrap.estimate(lambda drawn: calibration_error(is_unsafe[drawn], p_unsafe[drawn])),
        ece_by_chance=_known(error_by_chance(p_unsafe, seed=seed)),
        brier=_known(brier(is_unsafe, p_unsafe)),
        log_loss=_known(log_loss(is_unsafe, p_unsafe)),
        accuracy=_known(balanced_accuracy(is_unsafe, p_unsafe, SERVED_THRESHOLD)),
        best=best_threshold(is_unsafe, p_unsafe),
    )


def _names_quality(
    shares: Floats, truth: NDArray[np.intp], bootstrap: Bootstrap, seed: int
) -> Quality:
    rows = np.arange(truth.size)
    is_right, sureness = shares.argmax(axis=1) == truth, np.minimum(1.0, shares.max(axis=1))
    right = np.zeros_like(shares)
    right[rows, truth] = 1.0
    return Quality(
        ece=bootstrap.estimate(lambda drawn: calibration_error(is_right[drawn], sureness[drawn])),
        ece_by_chance=_known(error_by_chance(sureness, seed=seed)),
        brier=float(np.mean(((shares - right) ** 2).sum(axis=1))),
        log_loss=_names_log_loss(shares, truth),
        accuracy=float(is_right.mean()),
        best=None,
    )


def _names_log_loss(shares: Floats, truth: NDArray[np.intp]) -> float:
    said = shares[np.arange(truth.size), truth]
    return float(-np.mean(np.log(np.clip(said, _LEAST_SHARE, 1.0))))


def _is_less(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one < other


def _right(answer: RawAnswer, names_of: NamesOf) -> str | None:
    return answer.item.category if names_of == "categories" else answer.item.concept


def _shares(answer: RawAnswer, names_of: NamesOf) -> dict[str, float]:
    """Every name's share, "none" among them; empty where nothing was recognised."""
    seen = answer.recognition
    if seen is None:
        return {}
    if names_of == "categories":
        return {**seen.categories, NONE: seen.no_category}
    return {**seen.concepts, NONE: seen.no_concept} if seen.concepts else {}


def _known(value: float | None) -> float:
    if value is None:  # both labels are there by now, and so are answers
        raise ValueError("a figure of nothing")
    return value
