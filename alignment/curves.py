"""The figures of finished or running trainings as curves: read, smoothed, and joined over seeds.

Every training here writes one line a step to ``metrics.jsonl`` (PPO by `alignment.ppo_log`, SFT and
DPO by `alignment.trl_metrics`, the stages before by `alignment.supervised`). Nested figures are
named by their parts: ``seconds/rollout``.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.run_identity import IDENTITY_NAME, METRICS_NAME
from server.errors import SightwardError

_WINDOWS = 25
_SHORTEST_SMOOTHED = 10


class NoCurvesError(SightwardError):
    """A folder has nothing to draw; `reason` says what is missing."""

    def __init__(self, run: Path, reason: str) -> None:
        super().__init__(f"nothing to plot in {run}: {reason}")
        self.run = run
        self.reason = reason


class DifferentRecipesError(SightwardError):
    """Runs of different recipes have no mean."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(
            f"runs of different recipes ({', '.join(names)}) have no mean: plot them one by one"
        )
        self.names = names


@dataclass(frozen=True, slots=True)
class Curve:
    """Values at ascending steps; steps without a finite value are left out."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RunCurves:
    """A run's curves by name. `recipe`, `base`, `data` and `seed` are None where it kept none."""

    run: Path
    recipe: str | None
    base: str | None
    data: str | None
    seed: int | None
    curves: Mapping[str, Curve]


@dataclass(frozen=True, slots=True)
class Band:
    """Several runs at the steps that all have: their mean and standard deviation (population)."""

    steps: tuple[int, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]


def read_curves(run: Path) -> RunCurves:
    """Read a run's folder; raises NoCurvesError."""
    path = run / METRICS_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NoCurvesError(run, f"no {METRICS_NAME} (is this a run's folder?)") from error
    points: dict[str, dict[int, float]] = {}
    for line in _whole_lines(text):
        step = line.get("step")
        if isinstance(step, int):
            for name, value in _numbers(line).items():
                points.setdefault(name, {})[step] = value
    if not points:
        raise NoCurvesError(run, f"{METRICS_NAME} has no finished step yet")
    identity = _identity(run)
    recipe = identity.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    data = identity.get("data")
    return RunCurves(
        run=run,
        recipe=recipe.get("name"),
        base=identity.get("base"),
        data=data.get("name") if isinstance(data, Mapping) else None,
        seed=recipe.get("seed"),
        curves={
            name: Curve(tuple(sorted(at)), tuple(at[step] for step in sorted(at)))
            for name, at in points.items()
        },
    )


def require_one_recipe(runs: Sequence[RunCurves]) -> None:
    """Raise DifferentRecipesError unless all are of one recipe."""
    names = tuple(sorted({run.recipe or "unknown" for run in runs}))
    if len(names) > 1:
        raise DifferentRecipesError(names)


def smoothed(curve: Curve) -> Curve:
    """A moving mean, centred, over a twenty-fifth of the curve; narrower at its ends."""
    reach = 0
    if len(curve.values) >= _SHORTEST_SMOOTHED:
        reach = max(len(curve.values) // (2 * _WINDOWS), 1)
    means = []
    for place in range(len(curve.values)):
        near = min(reach, place, len(curve.values) - 1 - place)
        means.append(statistics.fmean(curve.values[place - near : place + near + 1]))
    return Curve(curve.steps, tuple(means))


def band_of(curves: Sequence[Curve]) -> Band:
    """Mean and spread over runs."""
    at = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    steps = sorted(set.intersection(*(set(one) for one in at)))
    columns = [[one[step] for one in at] for step in steps]
    return Band(
        tuple(steps),
        tuple(statistics.fmean(column) for column in columns),
        tuple(statistics.pstdev(column) for column in columns),
    )


def _whole_lines(text: str) -> list[dict[str, Any]]:
    """A run that is writing, or was killed, may have a last line that is cut short."""
    lines = []
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            break
        if isinstance(found, dict):
            lines.append(found)
    return lines


def _numbers(line: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif name != "step" and isinstance(value, int | float) and math.isfinite(value):
            found[prefix + name] = float(value)
    return found


def _identity(run: Path) -> dict[str, Any]:
    try:
        found = json.loads((run / IDENTITY_NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
