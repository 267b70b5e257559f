"""What changes that don't matter do to the verdict, one change at a time and all together.

A verdict flips when P(unsafe) crosses the threshold. Close to it a flip says little, so flips of
pictures that were further from it than a margin are counted by themselves, as a share of those
pictures. A pair counts where the picture had an answer before and after; pictures that lost theirs
are counted beside.

N pictures, C changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.resampling import CountBootstrap
from benchmarks.stats import Bootstrap, Estimate, Indices

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChangeFigures:
    """One change. `pairs` have an answer before and after, `lost` only before.

    `beyond_margin` counts the pairs that `flips_beyond_margin` is a share of. `mean_shift` is
    signed: above 0 the change makes pictures look less safe. `rank_correlation` is Spearman's.
    """

    change: str
    is_control: bool
    pairs: int
    lost: int
    beyond_margin: int
    flips: Estimate
    flips_beyond_margin: Estimate
    mean_abs_shift: Estimate
    mean_shift: Estimate
    rank_correlation: Estimate


@dataclass(frozen=True, slots=True)
class RobustnessFigures:
    """Every change, then all but the controls together.

    `flips` and `flips_beyond_margin` are means over all pairs; `flipped_by_any` is the share of
    pictures that at least one change flips, `flipped_by_any_beyond_margin` the same among those
    beyond the margin.
    """

    pictures: int
    no_answer: int
    changes: tuple[ChangeFigures, ...]
    flips: Estimate
    flips_beyond_margin: Estimate
    mean_abs_shift: Estimate
    flipped_by_any: Estimate
    flipped_by_any_beyond_margin: Estimate


@dataclass(frozen=True, slots=True)
class Perturbed:
    """P(unsafe) of every picture before (N) and after each change (N, C); NaN is no answer."""

    groups: Sequence[str]
    names: Sequence[str]
    is_control: Sequence[bool]
    before: Floats
    after: Floats


def measure_robustness(
    perturbed: Perturbed, *, threshold: float, margin: float, seed: int, resamples: int
) -> RobustnessFigures:
    """All figures; raises `ValueError` without pictures."""
    if not perturbed.before.size:
        raise ValueError("no pictures were changed")
    bootstrap = Bootstrap(perturbed.groups, seed=seed, resamples=resamples)
    counts = CountBootstrap(perturbed.groups, seed=seed, resamples=resamples)
    before, after = perturbed.before[:, None], perturbed.after
    is_pair = ~np.isnan(before) & ~np.isnan(after)
    flipped = is_pair & ((before >= threshold) != (after >= threshold))
    is_far = is_pair & (np.abs(before - threshold) > margin)
    shift = np.where(is_pair, after - before, 0.0)
    real = ~np.array(perturbed.is_control, dtype=np.bool_)
    return RobustnessFigures(
        pictures=int(perturbed.before.size),
        no_answer=int(np.isnan(perturbed.before).sum()),
        changes=tuple(
            ChangeFigures(
                change=name,
                is_control=perturbed.is_control[column],
                pairs=int(is_pair[:, column].sum()),
                lost=int((~np.isnan(perturbed.before) & np.isnan(after[:, column])).sum()),
                beyond_margin=int(is_far[:, column].sum()),
                flips=_share_among(counts, flipped[:, [column]], is_pair[:, [column]]),
                flips_beyond_margin=_share_among(counts, flipped[:, [column]], is_far[:, [column]]),
                mean_abs_shift=_mean_among(
                    bootstrap, np.abs(shift[:, [column]]), is_pair[:, [column]]
                ),
                mean_shift=_mean_among(bootstrap, shift[:, [column]], is_pair[:, [column]]),
                rank_correlation=_rank_correlation(bootstrap, perturbed.before, after[:, column]),
            )
            for column, name in enumerate(perturbed.names)
        ),
        flips=_share_among(counts, flipped[:, real], is_pair[:, real]),
        flips_beyond_margin=_share_among(counts, flipped[:, real], is_far[:, real]),
        mean_abs_shift=_mean_among(bootstrap, np.abs(shift[:, real]), is_pair[:, real]),
        flipped_by_any=_any_among(counts, flipped[:, real], is_pair[:, real]),
        flipped_by_any_beyond_margin=_any_among(counts, flipped[:, real], is_far[:, real]),
    )


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's, ties sharing their mean rank; None where either side does not vary."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    if one.size < 2:
        return None
    ranks = [rankdata(values) for values in (one, other)]
    if any(np.ptp(rank) == 0.0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _share_among(
    bootstrap: CountBootstrap, hits: NDArray[np.bool_], among: NDArray[np.bool_]
) -> Estimate:
    """The share of hits; where there is none, the interval says how few pictures that is of."""
    found = (hits & among).sum(axis=1).astype(np.float64)
    return (bootstrap.sum(found) / bootstrap.sum(among.sum(axis=1).astype(np.float64))).share()


def _mean_among(bootstrap: Bootstrap, values: Floats, among: NDArray[np.bool_]) -> Estimate:
    def mean(drawn: Indices) -> float | None:
        chosen = values[drawn][among[drawn]]
        return float(chosen.mean()) if chosen.size else None

    return bootstrap.estimate(mean)


def _any_among(
    bootstrap: CountBootstrap, hits: NDArray[np.bool_], among: NDArray[np.bool_]
) -> Estimate:
    return _share_among(
        bootstrap,
        np.asarray((hits & among).any(axis=1, keepdims=True), dtype=np.bool_),
        np.asarray(among.any(axis=1, keepdims=True), dtype=np.bool_),
    )


def _rank_correlation(bootstrap: Bootstrap, before: Floats, after: Floats) -> Estimate:
    known = ~np.isnan(before) & ~np.isnan(after)

    def statistic(drawn: Indices) -> float | None:
        pairs = drawn[known[drawn]]
        return rank_correlation(before[pairs], after[pairs])

    return bootstrap.estimate(statistic)
