"""Which trained weights of ours the reference VLM carries: the base's, or an aligned one's.

The base is a delta over packaged weights. An aligned variant is that base and a LoRA adapter on its
language model, in a folder of its own: an ordinary PEFT adapter, so alignment costs megabytes.

One spelling everywhere a model is named: ``reference`` is the default variant, ``reference:sft`` a
certain one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from server.concepts.calibration import CALIBRATION_NAME
from server.errors import SightwardError

Reference = Literal["base", "sft", "dpo", "ppo"]
"""The base, or what it was aligned with."""

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

    `name` is its public id. `adapter` is the folder of a PEFT adapter, None for the base.
    `calibration` is a file that goes into the checkpoint as it is, where there is one.
    """

    name: str
    delta: Path
    adapter: Path | None = None
    calibration: Path | None = None


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
    if not (folder / ADAPTER_NAME).is_file():
        raise MissingReferenceError(reference, existing_references(weights))
    return adapted_files(f"{MODEL_NAME}-{reference}", delta, folder)


def adapted_files(name: str, delta: Path, adapter: Path) -> ReferenceFiles:
    """The files of a base with an adapter from any folder."""
    return ReferenceFiles(name, delta, adapter, _calibration(adapter))


def existing_references(weights: Path = WEIGHTS_FOLDER) -> tuple[Reference, ...]:
    """The variants whose weights are here."""
    return tuple(
        one
        for one in REFERENCES
        if (variant_folder(one, weights) / (DELTA_NAME if one == BASE else ADAPTER_NAME)).is_file()
    )


def _calibration(folder: Path) -> Path | None:
    path = folder / CALIBRATION_NAME
    return path if path.is_file() else None
