"""The shape of the safety modules that fit the reference VLM."""

from typing import Any

from server.concepts.taxonomy import load_taxonomy
from server.vlm.safety_shape import SafetyShape, risk_types


def reference_shape(**other: Any) -> SafetyShape:
    """`other` are further fields of `SafetyShape`."""
    return SafetyShape(
        channels=1280,
        hidden_size=576,
        types=risk_types(),
        concepts=load_taxonomy().concept_names,
        **other,
    )
