"""What is counted of explanations, apart from verdicts: they cost a model far more."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OUTCOMES = (
    "written",
    "unsupported",
    "not_judged",
    "listed",
    "safety_head",
    "timeout",
    "failed",
    "unusable",
)


class ExplanationMetrics:
    """Explanations asked for, and what writing them took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._explanations = Counter(
            "sightward_explanations",
            "Explanations asked for: written, or why there is none.",
            ["outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "sightward_explanation_seconds",
            "Seconds that the model wrote at one explanation, its prompt included.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._tokens = Counter(
            "sightward_explanation_tokens",
            "Tokens written in explanations.",
            registry=registry,
        )
        for outcome in _OUTCOMES:
            self._explanations.labels(outcome)

    def count(self, outcome: str) -> None:
        """Count one that was asked for."""
        self._explanations.labels(outcome).inc()

    def wrote(self, seconds: float, tokens: int) -> None:
        """Count what one took that was written."""
        self._seconds.observe(seconds)
        self._tokens.inc(tokens)
