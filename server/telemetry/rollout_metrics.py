"""What is counted of several models side by side: who answered, and where they disagree.

Labels are roles and actions. Names and versions, which an operator makes up, stand on one gauge
alone, for the few models that are loaded.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_DIFFERENCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)

SkipReason = Literal["busy", "unready", "failed"]
FallbackReason = Literal["unready", "failed", "timeout"]
COMPARED_ROLES = ("canary", "shadow")


class ModelLine(NamedTuple):
    """One hosted model, for the gauge that names them."""

    name: str
    role: str
    state: str
    model_version: str


class RolloutMetrics:
    """The rollout's metrics, on the app's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.inputs = Counter(
            "sightward_model_inputs",
            "Inputs judged for an answer, by the role of the model that judged them.",
            ["role"],
            registry=registry,
        )
        self.fallbacks = Counter(
            "sightward_canary_fallbacks",
            "Inputs of the canary's share that the default judged in its place, by reason.",
            ["reason"],
            registry=registry,
        )
        self.comparisons = Counter(
            "sightward_model_comparisons",
            "Inputs judged by the default and by the model in this role.",
            ["role"],
            registry=registry,
        )
        self.disagreements = Counter(
            "sightward_model_disagreements",
            "Compared inputs on which the policy's action differs, by both actions.",
            ["role", "default_action", "action"],
            registry=registry,
        )
        self.differences = Histogram(
            "sightward_model_score_difference",
            "How far P(unsafe) of compared inputs is from the default's; of those with both.",
            ["role"],
            buckets=_DIFFERENCES,
            registry=registry,
        )
        self.skipped = Counter(
            "sightward_model_comparisons_skipped",
            "Inputs that were to be compared and were not, by reason: too much else to do (busy), "
            "no such model now (unready), or no verdict of it (failed).",
            ["role", "reason"],
            registry=registry,
        )
        self.switches = Counter(
            "sightward_default_switches",
            "Times another model became the default, by how: promote, roll_back or failure.",
            ["how"],
            registry=registry,
        )
        self.models = Gauge(
            "sightward_hosted_model_info",
            "1 for each model that is loaded or being loaded, with its role and state.",
            ["name", "role", "state", "model_version"],
            registry=registry,
        )
        for role in COMPARED_ROLES:
            self.comparisons.labels(role)
            for reason in ("busy", "unready", "failed"):
                self.skipped.labels(role, reason)
        for reason in ("unready", "failed", "timeout"):
            self.fallbacks.labels(reason)

    def show(self, models: Iterable[ModelLine]) -> None:
        """Name the models that there are now, and no others."""
        self.models.clear()
        for line in models:
            self.models.labels(*line).set(1)
