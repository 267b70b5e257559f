"""What the tower alone knows: a logistic regression on its pooled features, no language model.

The extra row that a moderation model must beat. It learns from the train split's pictures as they
are, with the strength of its penalty chosen by cross-validation within train, near-duplicates
together; the measured split is only judged.
"""

import json
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alignment.calibration.scoring import Mask
from alignment.compare.verdicts import Verdict, prefixed, verdict_figures
from alignment.data.manifest import Example, ImageSet

NAME = "tower + logistic regression"

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5
_VIEW = 0

Features = NDArray[np.float32]


def regression_figures(
    images: ImageSet,
    *,
    split: str,
    outside: ImageSet | None,
    outside_ids: Set[str] | None,
    grid: int,
    cache: Path,
    seed: int,
    kept: Path,
) -> dict[str, float | None]:
    """The row's figures, kept in the file `kept`; those that need a language model are left out.

    `grid` is the tower's as the reference VLM has it. `cache` holds tower features between runs.
    """
    key = [images.sha256, split, None if outside is None else outside.sha256, grid, seed]
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["key"] == key:
            figures: dict[str, float | None] = found["figures"]
            return figures
    train, test = images.split("train"), images.split(split)
    judge = fit(
        pooled(images, train, grid=grid, cache=cache, seed=seed),
        np.array([one.unsafe for one in train]),
        groups=[one.group or one.id for one in train],
        seed=seed,
    )
    verdicts = judge.verdicts(test, pooled(images, test, grid=grid, cache=cache, seed=seed))
    figures = prefixed("images", verdict_figures(verdicts))
    if outside_ids is not None:
        chosen = [v for v, one in zip(verdicts, test, strict=True) if one.id in outside_ids]
        figures |= prefixed("outside", verdict_figures(chosen))
    elif outside is not None:
        others = outside.held_out()
        seen = pooled(outside, others, grid=grid, cache=cache, seed=seed)
        figures |= prefixed("outside", verdict_figures(judge.verdicts(others, seen)))
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "figures": figures}, indent=1), encoding="utf-8")
    partial.replace(kept)
    return figures


class PooledJudge:
    """A fitted regression. `model` has scikit-learn's `predict_proba`."""

    def __init__(self, model: object) -> None:
        self._model = model

    def verdicts(self, examples: Sequence[Example], features: Features) -> list[Verdict]:
        """Judge examples by their features (N, C), at a threshold of one half."""
        if not len(examples):
            return []
        p_unsafe = self._model.predict_proba(features)[:, 1]  # type: ignore[attr-defined]
        return [
            Verdict(is_unsafe=one.unsafe, says_unsafe=bool(p >= 0.5), p_unsafe=float(p))
            for one, p in zip(examples, p_unsafe, strict=True)
        ]


def fit(features: Features, is_unsafe: Mask, *, groups: Sequence[str], seed: int) -> PooledJudge:
    """Fit on features (N, C); `groups` has near-duplicates under one name."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def model(strength: float) -> object:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))

    folds = list(
        StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(
            features, is_unsafe, groups
        )
    )

    def loss(strength: float) -> float:
        """Log loss rather than AUC: a penalty so strong that it judges all alike can rank well."""
        return float(
            np.mean(
                [
                    log_loss(
                        is_unsafe[held],
                        model(strength)  # type: ignore[attr-defined]
                        .fit(features[learn], is_unsafe[learn])
                        .predict_proba(features[held])[:, 1],
                        labels=[False, True],
                    )
                    for learn, held in folds
                ]
            )
        )

    best = min(_STRENGTHS, key=loss)
    return PooledJudge(model(best).fit(features, is_unsafe))  # type: ignore[attr-defined]


def pooled(
    images: ImageSet, examples: Sequence[Example], *, grid: int, cache: Path, seed: int
) -> Features:
    """The tower's features of the pictures as they are, averaged over places: (N, C) float32."""
    from alignment.features import build_features

    reader = build_features(
        images, examples, root=cache, grid=grid, views=1, seed=seed
    ).open_views()
    rows = [reader.read(one.id, _VIEW).float().mean(dim=0).numpy() for one in examples]
    return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
