"""From where on a safety head alone is sure: two thresholds that validation pictures bear out.

On either side of 0.5 the head may answer as far out as two shares of its answers stay low: those
that differ from what the whole model says, and those that differ from the label. One more miss is
counted than was seen, as in conformal risk control (Angelopoulos et al. 2024), so that few pictures
prove little. Both thresholds are chosen on the very pictures that they are counted on; how they do
on others is told by cross-fitting, near-duplicates in one fold.

N pictures that the head gave a usable answer about.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignment.calibration.answers import Item, RawAnswer
from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.fitting import (
    applied_judgement,
    bias_helps,
    fit_judgement,
    folds_of,
)
from alignment.calibration.groups import SERVED_THRESHOLD, FitSettings
from alignment.calibration.scoring import Floats, Mask, log_loss
from alignment.data.manifest import Example, ImageSet
from server.cascade import FastReader
from server.concepts.calibration import (
    FastPathCalibration,
    FittedFastPath,
    JudgementCalibration,
)
from server.concepts.fast_path import SureBounds
from server.concepts.head_score import head_p_unsafe
from server.errors import NoFastPathError

_ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class SureSettings:
    """What the head's answers must reach on either side.

    At most `max_differing` of them may differ from the whole model's label, at least
    `min_precision` must be right by the picture's own. Raises `CalibrationDataError` for what is no
    share.
    """

    max_differing: float = 0.02
    min_precision: float = 0.95

    def __post_init__(self) -> None:
        for name in ("max_differing", "min_precision"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise CalibrationDataError(f"{name} is a share, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class HeadAnswers:
    """The head's raw scores about pictures, in their order; None where it said nothing usable."""

    head: str
    p_unsafe: list[float | None]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """What both paths and the labels say (N). A picture may be neither safe nor unsafe to the
    whole model, which then differs from anything that the head says."""

    raw: Floats
    is_unsafe: Mask
    says_unsafe: Mask
    says_safe: Mask
    groups: list[str]

    def part(self, inside: Mask) -> "_Pictures":
        """Those of the pictures that are `inside` (N)."""
        return _Pictures(
            raw=self.raw[inside],
            is_unsafe=self.is_unsafe[inside],
            says_unsafe=self.says_unsafe[inside],
            says_safe=self.says_safe[inside],
            groups=[group for group, is_in in zip(self.groups, inside, strict=True) if is_in],
        )


async def ask_head(
    make_reader: Callable[[], FastReader], images: ImageSet, items: Sequence[Item]
) -> HeadAnswers | None:
    """What the head alone says of the items that are pictures; None for a model without one.

    Raises `PictureFileError` for a bad file.
    """
    try:
        reader = await asyncio.to_thread(make_reader)
    except NoFastPathError:
        return None
    turns = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(example: Example) -> float | None:
        async with turns:
            reading = await reader.read(await asyncio.to_thread(images.open, example))
        return head_p_unsafe(reading.risk) if reading.is_usable else None

    examples = [item.content for item in items if isinstance(item.content, Example)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(example)) for example in examples]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        await reader.close()
    return HeadAnswers(reader.version, [task.result() for task in tasks])


def fit_fast_path(
    said: HeadAnswers,
    answers: Sequence[RawAnswer],
    model: JudgementCalibration,
    sure: SureSettings,
    settings: FitSettings,
) -> FastPathCalibration:
    """The head's calibration and thresholds; `answers` are the whole model's, in the same order.

    `model` calibrates those. Raises `CalibrationDataError` where there is too little to fit on.
    """
    pictures = _pictures(said, answers, model)
    try:
        folds = folds_of(
            pictures.groups, pictures.is_unsafe, folds=settings.folds, seed=settings.seed
        )
    except CalibrationDataError as error:
        raise CalibrationDataError(f"fast path: {error.reason}") from error
    has_bias = bias_helps(pictures.is_unsafe, pictures.raw, folds)
    judgement = _judgement(pictures, has_bias=has_bias)
    bounds = _bounds(pictures, judgement, sure)
    return FastPathCalibration(
        head=said.head,
        judgement=judgement,
        allow_below=bounds.allow_below,
        block_above=bounds.block_above,
        fitted=_cross_fitted(pictures, folds, sure, has_bias=has_bias),
    )


def _bounds(pictures: _Pictures, judgement: JudgementCalibration, sure: SureSettings) -> SureBounds:
    """The thresholds furthest in that these pictures bear out; None where none does."""
    p = applied_judgement(judgement, pictures.raw)
    is_low = p < SERVED_THRESHOLD
    allowing, blocking = pictures.part(is_low), pictures.part(~is_low)
    allow_below = _furthest(p[is_low], ~allowing.says_safe, allowing.is_unsafe, sure)
    block_above = _furthest(-p[~is_low], ~blocking.says_unsafe, ~blocking.is_unsafe, sure)
    return SureBounds(allow_below, None if block_above is None else -block_above)


def _furthest(p: Floats, differs: Mask, is_wrong: Mask, sure: SureSettings) -> float | None:
    """The highest `p` up to which both shares are low enough; None where there is none."""
    if not p.size:
        return None
    order = np.argsort(p, kind="stable")
    values = p[order]
    count = np.arange(1, p.size + 1)
    differing = (np.cumsum(differs[order]) + 1) / (count + 1)
    wrong = (np.cumsum(is_wrong[order]) + 1) / (count + 1)
    # A threshold takes all of its equals or none.
    is_last = np.append(values[1:] != values[:-1], True)
    holds = is_last & (differing <= sure.max_differing) & (wrong <= 1.0 - sure.min_precision)
    found = np.flatnonzero(holds)
    return float(values[found[-1]]) if found.size else None


def _cross_fitted(
    pictures: _Pictures, folds: NDArray[np.intp], sure: SureSettings, *, has_bias: bool
) -> FittedFastPath:
    allowed, blocked = (np.zeros(pictures.raw.size, dtype=np.bool_) for _ in range(2))
    for fold in np.unique(folds):
        inside = folds == fold
        others = pictures.part(~inside)
        judgement = _judgement(others, has_bias=has_bias)
        bounds = _bounds(others, judgement, sure)
        p = applied_judgement(judgement, pictures.raw[inside])
        if bounds.allow_below is not None:
            allowed[inside] = p <= bounds.allow_below
        if bounds.block_above is not None:
            blocked[inside] = p >= bounds.block_above
    differing = (allowed & ~pictures.says_safe) | (blocked & ~pictures.says_unsafe)
    return FittedFastPath(
        max_differing=sure.max_differing,
        min_precision=sure.min_precision,
        examples=pictures.raw.size,
        allowed=int(allowed.sum()),
        blocked=int(blocked.sum()),
        differing=int(differing.sum()),
        wrong_allowed=int((allowed & pictures.is_unsafe).sum()),
        wrong_blocked=int((blocked & ~pictures.is_unsafe).sum()),
    )


def _judgement(pictures: _Pictures, *, has_bias: bool) -> JudgementCalibration:
    fitted = fit_judgement(pictures.is_unsafe, pictures.raw, has_bias=has_bias)
    before = log_loss(pictures.is_unsafe, pictures.raw)
    after = log_loss(pictures.is_unsafe, applied_judgement(fitted, pictures.raw))
    is_better = before is not None and after is not None and after < before
    return fitted if is_better else JudgementCalibration()


def _pictures(
    said: HeadAnswers, answers: Sequence[RawAnswer], model: JudgementCalibration
) -> _Pictures:
    known = [
        (raw, answer) for raw, answer in zip(said.p_unsafe, answers, strict=True) if raw is not None
    ]
    whole = [
        None if answer.p_unsafe is None else model.apply(answer.p_unsafe) for _, answer in known
    ]
    return _Pictures(
        raw=np.array([raw for raw, _ in known], dtype=np.float64),
        is_unsafe=np.array([answer.item.is_unsafe for _, answer in known], dtype=np.bool_),
        says_unsafe=np.array(
            [p is not None and p >= SERVED_THRESHOLD for p in whole], dtype=np.bool_
        ),
        says_safe=np.array([p is not None and p < SERVED_THRESHOLD for p in whole], dtype=np.bool_),
        groups=[answer.item.group for _, answer in known],
    )
