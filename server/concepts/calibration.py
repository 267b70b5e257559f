"""Calibration: from a model's raw probabilities to ones that can be taken at their word.

After Platt (1999) and Guo et al. (2017): the logit of P(unsafe) is divided by a temperature and
moved by a bias, what is recognised is tempered by a temperature alone. Both keep the order of any
two inputs, so no AUC and no likeliest name changes; only the numbers do, and with them what the
policy's thresholds mean. Pictures and words are calibrated apart, since a model is not equally sure
of both.

The values are fitted offline (`python -m alignment calibrate`) and lie as `calibration.json` in a
checkpoint's or adapter's folder. They hold for the questions they were fitted on and for no others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file
from server.concepts.recognition import Recognition
from server.errors import CalibrationMismatchError

CALIBRATION_NAME = "calibration.json"

MAX_LOGIT = 16.0
"""Beyond it (p of 1e-7) a logit is the rounding of a low-precision softmax, not evidence."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 50.0
MAX_BIAS = 10.0

Temperature = Annotated[float, Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]

GroupName = Literal[
    "pictures.judgement",
    "pictures.categories",
    "pictures.concepts",
    "words.judgement",
    "words.categories",
    "words.concepts",
]


def logit(p: float) -> float:
    """``log(p / (1 - p))``, held within `MAX_LOGIT` on both sides."""
    if p <= 0.0 or p >= 1.0:
        return MAX_LOGIT if p >= 1.0 else -MAX_LOGIT
    return max(-MAX_LOGIT, min(MAX_LOGIT, math.log(p) - math.log1p(-p)))


def sigmoid(z: float) -> float:
    """The inverse of `logit`, without overflow."""
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(z) / (1.0 + math.exp(z))


class JudgementCalibration(FrozenRecord):
    """``sigmoid(logit(p) / temperature + bias)``: never decreasing in `p`."""

    temperature: Temperature = 1.0
    bias: float = Field(default=0.0, ge=-MAX_BIAS, le=MAX_BIAS)

    def apply(self, p: float) -> float:
        """The calibrated probability; `p` itself where nothing was fitted."""
        if self.temperature == 1.0 and self.bias == 0.0:
            return p
        return sigmoid(logit(p) / self.temperature + self.bias)


class NamesCalibration(FrozenRecord):
    """``p ** (1 / temperature)``, shared out anew: the order of the names stays as it is."""

    temperature: Temperature = 1.0

    def apply(self, shares: Sequence[float]) -> list[float]:
        """The tempered shares, which sum to 1; as they are where nothing was fitted."""
        highest = max(shares, default=0.0)
        if self.temperature == 1.0 or highest <= 0.0:
            return list(shares)
        # Relative to the highest, so that powers of tiny shares don't all underflow.
        weights = [(share / highest) ** (1.0 / self.temperature) for share in shares]
        total = math.fsum(weights)
        return [weight / total for weight in weights]


class ModalityCalibration(FrozenRecord):
    """What is calibrated of one kind of input.

    `head_share` is how much of the judgement is a safety head's word, before it is calibrated
    (`server.concepts.head_score`); 0, the words' alone.
    """

    head_share: Probability = 0.0
    judgement: JudgementCalibration = JudgementCalibration()
    categories: NamesCalibration = NamesCalibration()
    concepts: NamesCalibration = NamesCalibration()

    @property
    def is_identity(self) -> bool:
        """Whether every number stays as it is."""
        return self == RAW

    def recognition(self, seen: Recognition) -> Recognition:
        """`seen` with both softmaxes tempered."""
        categories, no_category = _tempered(self.categories, seen.categories, seen.no_category)
        if not seen.concepts:  # was not asked, so "none" is no answer either
            return replace(seen, categories=categories, no_category=no_category)
        concepts, no_concept = _tempered(self.concepts, seen.concepts, seen.no_concept)
        return Recognition(categories, no_category, concepts, no_concept)


RAW = ModalityCalibration()
"""Leaves everything as the model said it."""


class FittedGroup(FrozenRecord):
    """How far off a group was on the fitting split, before and after, by cross-fitting.

    `ece` are expected calibration errors over bins of equal mass; for names, of the likeliest one.
    """

    group: GroupName
    examples: int = Field(ge=1)
    no_answer: int = Field(ge=0)
    ece_before: Probability
    ece_after: Probability
    brier_before: float = Field(ge=0.0, le=2.0)
    brier_after: float = Field(ge=0.0, le=2.0)


class Fitted(FrozenRecord):
    """What the values were fitted on; `data_sha256` is the content hash of the set."""

    data: str
    data_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    split: str
    seed: int
    folds: int = Field(ge=2)
    groups: tuple[FittedGroup, ...]


class FittedFastPath(FrozenRecord):
    """What the fast path's thresholds were fitted to, and how they did on pictures left out.

    `max_differing` and `min_precision` were asked for. `allowed` and `blocked` of the `examples`
    were answered by thresholds fitted on the other folds; `differing` of those answers are not what
    the whole model says, `wrong_allowed` and `wrong_blocked` not what the labels say.
    """

    max_differing: Probability
    min_precision: Probability
    examples: int = Field(ge=1)
    allowed: int = Field(ge=0)
    blocked: int = Field(ge=0)
    differing: int = Field(ge=0)
    wrong_allowed: int = Field(ge=0)
    wrong_blocked: int = Field(ge=0)


class FastPathCalibration(FrozenRecord):
    """From where on a safety head alone [S2] is sure of a picture (`server.concepts.fast_path`).

    `judgement` makes P(unsafe) of the head's raw score; up to `allow_below` the picture is safe,
    from `block_above` on unsafe, in between (or where a threshold is None) the whole model judges.
    Neither may lie on the verdict's other side, 0.5. `head` is the `version` of the weights.
    """

    head: str = Field(min_length=1)
    judgement: JudgementCalibration = JudgementCalibration()
    allow_below: float | None = Field(default=None, ge=0.0, lt=0.5)
    block_above: float | None = Field(default=None, ge=0.5, le=1.0)
    fitted: FittedFastPath | None = None


class Calibration(VersionedRecord):
    """The content of a calibration file; `version` changes with any value that is applied."""

    schema_version: Literal[1] = 1
    probes_version: str
    active: tuple[str, ...] = Field(min_length=1)
    taxonomy_version: str
    pictures: ModalityCalibration = RAW
    words: ModalityCalibration = RAW
    fast_path: FastPathCalibration | None = None
    fitted: Fitted | None = None

    def versioned_content(self) -> dict[str, Any]:
        """Everything that changes an answer; not how it was found."""
        content = self.model_dump(mode="json", exclude={"fitted": True, "fast_path": {"fitted"}})
        # A file without these keeps the version that it had before there were any.
        if content["fast_path"] is None:
            del content["fast_path"]
        for modality in (content["pictures"], content["words"]):
            if modality["head_share"] == 0.0:
                del modality["head_share"]
        return content

    def require_fit(
        self, *, probes_version: str, active: Sequence[str], taxonomy_version: str
    ) -> None:
        """Raise `CalibrationMismatchError` unless it was fitted for these questions and names."""
        for what, fitted_for, asked in (
            ("probes", self.probes_version, probes_version),
            ("questions", ",".join(self.active), ",".join(active)),
            ("taxonomy", self.taxonomy_version, taxonomy_version),
        ):
            if fitted_for != asked:
                raise CalibrationMismatchError(what, fitted_for, asked)


CalibrationChoice = Calibration | Literal["own", "none"]
"""A calibration, the one that comes with the model if there is one, or raw scores."""


def read_calibration(path: Path) -> Calibration:
    """The calibration file at `path`; raises `DataFileError` with the path of every bad field."""
    return read_data_file(path, Calibration)


def _tempered(
    calibration: NamesCalibration, named: Mapping[str, float], none: float
) -> tuple[dict[str, float], float]:
    shares = calibration.apply([*named.values(), none])
    return dict(zip(named, shares, strict=False)), shares[-1]
