"""How far probabilities are from what comes true: bins, calibration error, Brier score, likelihood.

The expected calibration error (Naeini et al. 2015) is the mean distance, over bins, between how
likely something was said to be and how often it was so. Bins of equal width show where on the scale
a model errs; bins of equal mass give every bin as many examples, so that no bin is noise alone.

N examples; `hits` (N) says what came true, `p` (N) how likely it was said to be.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BINS = 15
"""As is usual for the expected calibration error."""

_CHANCE_DRAWS = 200
_LEAST_P = 1e-7


@dataclass(frozen=True, slots=True)
class Bin:
    """`count` examples whose probability lies from `low` to `high`: its mean, and how many hit."""

    low: float
    high: float
    count: int
    mean_p: float
    share: float

    @property
    def error(self) -> float:
        """How far the mean is from the share."""
        return abs(self.mean_p - self.share)


def equal_width_bins(hits: Mask, p: Floats, *, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins with at least one example; 1 belongs to the last, any other edge to the bin above."""
    of = np.minimum((p * bins).astype(np.intp), bins - 1)
    return tuple(
        _bin(hits, p, inside, number / bins, (number + 1) / bins)
        for number in range(bins)
        if (inside := of == number).any()
    )


def equal_mass_bins(hits: Mask, p: Floats, *, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of as many examples each, as far as equal probabilities, which share one, allow it.

    A bin's bounds are its lowest and its highest probability.
    """
    of = _mass_bin_of(p, bins)
    return tuple(
        _bin(hits, p, inside, float(p[inside].min()), float(p[inside].max()))
        for number in np.unique(of)
        if (inside := of == number).any()
    )


def expected_error(bins: tuple[Bin, ...]) -> float | None:
    """The mean of the bins' errors, each as often as it has examples; None without bins."""
    count = sum(one.count for one in bins)
    return math.fsum(one.count * one.error for one in bins) / count if count else None


def calibration_error(hits: Mask, p: Floats) -> float | None:
    """The expected calibration error over bins of equal mass; None of nothing."""
    if not p.size:
        return None
    # A bin's error times its examples is how far its probabilities and its hits add up apart.
    apart = np.bincount(_mass_bin_of(p, BINS), weights=p - hits)
    return float(np.abs(apart).sum()) / p.size


def error_by_chance(p: Floats, *, seed: int) -> float | None:
    """The calibration error that `p` would show if it were right: what so few examples scatter.

    No calibration can be measured to be better than this.
    """
    if not p.size:
        return None
    random = np.random.default_rng(seed)
    errors = [calibration_error(random.random(p.size) < p, p) for _ in range(_CHANCE_DRAWS)]
    return math.fsum(error for error in errors if error is not None) / _CHANCE_DRAWS


def brier(hits: Mask, p: Floats) -> float | None:
    """Mean squared distance, in [0, 1]; None of nothing."""
    return float(np.mean((p - hits) ** 2)) if p.size else None


def log_loss(hits: Mask, p: Floats) -> float | None:
    """Mean negative log-likelihood in nats; certainty counts as 1e-7 of doubt."""
    if not p.size:
        return None
    said = np.clip(np.where(hits, p, 1.0 - p), _LEAST_P, 1.0)
    return float(-np.mean(np.log(said)))


def balanced_accuracy(hits: Mask, p: Floats, threshold: float) -> float | None:
    """Mean of the shares of either label judged right at `threshold`; None with one label alone."""
    if hits.all() or not hits.any():
        return None
    said = p >= threshold
    return float((said[hits].mean() + (~said[~hits]).mean()) / 2)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what it reaches."""

    at: float
    balanced_accuracy: float


def best_threshold(hits: Mask, p: Floats) -> Threshold | None:
    """The threshold of the highest balanced accuracy; None with one label alone.

    It lies midway between two examples. Of several that are as good, the one closest to 0.5.
    """
    if hits.all() or not hits.any():
        return None
    values, place = np.unique(p, return_inverse=True)
    unsafe = np.bincount(place, weights=hits, minlength=values.size)
    safe = np.bincount(place, weights=~hits, minlength=values.size)
    # Entry k: everything from the k-th value on is called a hit.
    found = np.append(np.cumsum(unsafe[::-1])[::-1], 0.0) / unsafe.sum()
    spared = np.append(0.0, np.cumsum(safe)) / safe.sum()
    reached = (found + spared) / 2
    at = np.concatenate(([values[0] / 2], (values[1:] + values[:-1]) / 2, [(1 + values[-1]) / 2]))
    best = np.flatnonzero(reached >= reached.max() - 1e-12)
    chosen = min(best.tolist(), key=lambda index: abs(at[index] - 0.5))
    return Threshold(float(at[chosen]), float(reached[chosen]))


def _mass_bin_of(p: Floats, bins: int) -> NDArray[np.intp]:
    """Each example's bin of equal mass (N): that of the middle rank among its equals."""
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray((ranks * bins / max(1, p.size)).astype(np.intp)[place], dtype=np.intp)


def _bin(hits: Mask, p: Floats, inside: Mask, low: float, high: float) -> Bin:
    count = int(inside.sum())
    return Bin(
        low=low,
        high=high,
        count=count,
        mean_p=math.fsum(p[inside].tolist()) / count,
        share=float(hits[inside].mean()),
    )
