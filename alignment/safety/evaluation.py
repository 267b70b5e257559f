"""How well the safety modules read labelled pictures: level, type, and clean or not.

What can't be computed, an AUC of one label or a rate over nothing, is None, never 0. Examples whose
level or type nobody knows (`alignment.safety.levels`) count for the AUC alone.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alignment.safety.guarded import GuardedBase
from alignment.safety.levels import RiskLabel
from alignment.safety.picture_draws import Draw
from alignment.safety.s2_types import S2_TYPE_OF
from server.concepts.risk import CLEAN, LEVELS, Risk

_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class RiskFigures:
    """Figures of one split.

    `level_accuracy` and `type_accuracy` are shares of all examples, the `balanced` ones means over
    the levels and types that there are; `s2_type_accuracy` is by [S2]'s seven types. `level_error`
    is the mean distance between the level said and the right one. `auc` is of 1 - P(clean), by
    types; `level_auc` of 1 - P(level 0).
    """

    examples: int
    level_accuracy: float | None
    level_balanced: float | None
    level_error: float | None
    type_accuracy: float | None
    type_balanced: float | None
    s2_type_accuracy: float | None
    auc: float | None
    level_auc: float | None
    by_type: Mapping[str, float]
    by_level: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for a record."""
        return dataclasses.asdict(self)


def evaluate(guarded: GuardedBase, draws: Sequence[Draw]) -> RiskFigures:
    """Read every draw, and hold what is said against the labels."""
    return risk_figures([draw.label for draw in draws], read_risks(guarded, draws))


@torch.no_grad()
def read_risks(guarded: GuardedBase, draws: Sequence[Draw]) -> list[Risk]:
    """What the modules say of each draw, as the service would have it."""
    modules = guarded.modules
    was_training = modules.training
    modules.eval()
    risks = []
    for start in range(0, len(draws), _BATCH_SIZE):
        reading = guarded.read(draws[start : start + _BATCH_SIZE])
        levels = reading.level.float().softmax(dim=-1).tolist()
        types = reading.type.float().softmax(dim=-1).tolist()
        risks += [
            Risk(
                (level[0], level[1], level[2], level[3]),
                dict(zip(modules.shape.types, type_, strict=True)),
            )
            for level, type_ in zip(levels, types, strict=True)
        ]
    modules.train(was_training)
    return risks


def risk_figures(labels: Sequence[RiskLabel], risks: Sequence[Risk]) -> RiskFigures:
    """The figures of readings against their labels, in the same order."""
    pairs = list(zip(labels, risks, strict=True))
    level_hits = [
        (str(label.level), risk.level == label.level)
        for label, risk in pairs
        if label.level is not None
    ]
    type_hits = [
        (label.type, risk.type == label.type) for label, risk in pairs if label.type is not None
    ]
    errors = [abs(risk.level - label.level) for label, risk in pairs if label.level is not None]
    s2_hits = [
        S2_TYPE_OF[risk.type] == S2_TYPE_OF[label.type]
        for label, risk in pairs
        if label.type is not None
    ]
    by_level, by_type = _by_group(level_hits), _by_group(type_hits)
    is_unsafe = [not label.is_clean for label in labels]
    return RiskFigures(
        examples=len(pairs),
        level_accuracy=_mean([hit for _, hit in level_hits]),
        level_balanced=_mean(list(by_level.values())),
        level_error=_mean(errors),
        type_accuracy=_mean([hit for _, hit in type_hits]),
        type_balanced=_mean(list(by_type.values())),
        s2_type_accuracy=_mean(s2_hits),
        auc=_auc(is_unsafe, [1.0 - risk.types[CLEAN] for risk in risks]),
        level_auc=_auc(is_unsafe, [risk.at_least(1) for risk in risks]),
        by_type={name: by_type[name] for name in S2_TYPE_OF if name in by_type},
        by_level={name: by_level[name] for name in map(str, range(LEVELS)) if name in by_level},
    )


def _by_group(hits: Sequence[tuple[str, bool]]) -> dict[str, float]:
    groups: dict[str, list[bool]] = {}
    for name, hit in hits:
        groups.setdefault(name, []).append(hit)
    return {name: sum(one) / len(one) for name, one in groups.items()}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _auc(is_unsafe: Sequence[bool], scores: Sequence[float]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if all(is_unsafe) or not any(is_unsafe):
        return None
    return float(roc_auc_score(is_unsafe, scores))


def write_figures(found: Mapping[str, RiskFigures], file: Path) -> None:
    """Write figures by their readers' names, as JSON, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    rows = {name: figures.as_dict() for name, figures in found.items()}
    partial.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(file)
