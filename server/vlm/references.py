"""Which trained weights of ours the reference VLM carries: the base's, or an aligned one's.

The base is a delta over packaged weights. An aligned variant is that base and, in a folder of its
own, a LoRA adapter on its language model, safety modules [S2], or both: an ordinary PEFT adapter
and one file beside it, so alignment costs megabytes.

One spelling everywhere a model is named: ``reference`` is the default variant, ``reference:sft`` a
certain one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from server.concepts.calibration import CALIBRATION_NAME
from server.errors import SightwardError

Reference = Literal["base", "sft", "dpo", "ppo", "safe"]
"""The base, or what it was aligned with; `safe` carries safety modules [S2]."""

BASE: Reference = "base"
DEFAULT_REFERENCE: Reference = "ppo"
"""What is meant where none is named."""

REFERENCES: tuple[Reference, ...] = get_args(Reference)
SPEC = "reference"
MODEL_NAME = "sightward-reference"

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
DELTA_NAME = "delta.safetensors"
ADAPTER_NAME = "adapter_model.safetensors"
ADAPTER_CONFIG_NAME = "adapter_config.json"
SAFETY_NAME = "safety.safetensors"


class MissingReferenceError(SightwardError):
    """No weights of this variant are here; `existing` names the variants that there are."""

    def __init__(self, reference: str, existing: tuple[str, ...]) -> None:
        there = ", ".join(existing) or "none"
        super().__init__(
            f"no weights of the reference VLM {reference!r} are here; there are: {there}"
        )
        self.reference = reference
        self.existing = existing


@dataclass(frozen=True, slots=True)
class ReferenceFiles:
    """What a variant is made of beside the packages.

    `name` is its public id. `adapter` is the folder of a PEFT adapter, None for the base; `safety`
    is the file of safety modules, None for a model without. `calibration` is a file that goes into
    the checkpoint as it is, where there is one.
    """

    name: str
    delta: Path
    adapter: Path | None = None
    calibration: Path | None = None
    safety: Path | None = None


def reference_named(spec: str) -> Reference | None:
    """The variant that a model's name means; None when it names no reference VLM."""
    if spec == SPEC:
        return DEFAULT_REFERENCE
    return next((one for one in REFERENCES if spec == spec_of(one)), None)


def spec_of(reference: Reference) -> str:
    """The name that means this variant whatever the default is."""
    return f"{SPEC}:{reference}"


def variant_folder(reference: Reference, weights: Path = WEIGHTS_FOLDER) -> Path:
    """Where a variant's weights lie, or would."""
    return weights / (SPEC if reference == BASE else f"{SPEC}-{reference}")


def reference_files(reference: Reference, weights: Path = WEIGHTS_FOLDER) -> ReferenceFiles:
    """A variant's files. Raises MissingReferenceError."""
    delta = variant_folder(BASE, weights) / DELTA_NAME
    if reference == BASE:
        return ReferenceFiles(MODEL_NAME, delta, calibration=_calibration(delta.parent))
    folder = variant_folder(reference, weights)
    if not _has_weights(reference, weights):
        raise MissingReferenceError(reference, existing_references(weights))
    return adapted_files(f"{MODEL_NAME}-{reference}", delta, folder)


def adapted_files(name: str, delta: Path, folder: Path) -> ReferenceFiles:
    """The files of a base with what lies in any folder: an adapter, safety modules, or both.

    A folder with neither is taken for one whose adapter is missing.
    """
    safety = folder / SAFETY_NAME
    has_safety = safety.is_file()
    return ReferenceFiles(
        name,
        delta,
        adapter=None if has_safety and not (folder / ADAPTER_NAME).is_file() else folder,
        calibration=_calibration(folder),
        safety=safety if has_safety else None,
    )


def existing_references(weights: Path = WEIGHTS_FOLDER) -> tuple[Reference, ...]:
    """The variants whose weights are here."""
    return tuple(one for one in REFERENCES if _has_weights(one, weights))


def _has_weights(reference: Reference, weights: Path) -> bool:
    names = (DELTA_NAME,) if reference == BASE else (ADAPTER_NAME, SAFETY_NAME)
    folder = variant_folder(reference, weights)
    return any((folder / name).is_file() for name in names)


def _calibration(folder: Path) -> Path | None:
    path = folder / CALIBRATION_NAME
    return path if path.is_file() else None
