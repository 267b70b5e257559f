"""What is counted and timed, for Prometheus: field-standard names, and labels of few values.

No label ever holds what a caller chose: routes are templates, codes are our own, categories are the
taxonomy's.
"""

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server.concepts.verdict import Verdict
from server.telemetry.drift import EDGES, DriftWatch

PHASES = ("starting", "ready", "restarting", "draining", "failed")
Stage = Literal["queue", "fetch", "decode", "engine", "total"]

_STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one app, on a registry of its own, so that apps in one process don't clash."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sightward_requests",
            "Requests answered, by route template and HTTP status.",
            ["route", "status"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "sightward_requests_in_flight",
            "Requests being answered now.",
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "sightward_stage_seconds",
            "Seconds a call waits for its turn (queue), and a moderation spends fetching one "
            "picture (fetch), decoding one (decode), waiting for the model's answers to one input "
            "(engine), and in all (total).",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self.verdicts = Counter(
            "sightward_verdicts",
            "Results given, by outcome and the policy's action.",
            ["outcome", "action"],
            registry=self.registry,
        )
        self.judged = Counter(
            "sightward_judged",
            "Inputs judged, by kind and by what judged them: the model, or its safety head alone.",
            ["modality", "judge"],
            registry=self.registry,
        )
        self.undetermined = Counter(
            "sightward_undetermined",
            "Results that could not be judged, inputs refused one by one among them.",
            registry=self.registry,
        )
        self.refusals = Counter(
            "sightward_refusals",
            "Requests refused before their bodies were read, by error code.",
            ["reason"],
            registry=self.registry,
        )
        self.calls_running = Gauge(
            "sightward_calls_running",
            "Calls for the model that are worked on.",
            registry=self.registry,
        )
        self.calls_waiting = Gauge(
            "sightward_calls_waiting",
            "Calls for the model that wait for their turn.",
            registry=self.registry,
        )
        self.fetches = Counter(
            "sightward_fetches",
            "Pictures fetched from web addresses, by how that ended: fetched, or the error code.",
            ["outcome"],
            registry=self.registry,
        )
        self.hints = Counter(
            "sightward_hints",
            "Conversations judged, by the hint that was given and by what chose it.",
            ["hint", "source"],
            registry=self.registry,
        )
        self.answer_tokens = Counter(
            "sightward_answer_tokens",
            "Tokens written in answers to conversations.",
            registry=self.registry,
        )
        self.refused_inputs = Counter(
            "sightward_refused_inputs",
            "Single inputs refused, by error code.",
            ["code"],
            registry=self.registry,
        )

        self.cache_requests = Counter(
            "sightward_cache_requests",
            "Inputs that went through the cache, by where their scores came from: the model, an "
            "identical input in flight, the cache, or a picture that looks alike.",
            ["source"],
            registry=self.registry,
        )
        self.cache_failures = Counter(
            "sightward_cache_failures",
            "Operations of the cache's store that failed; the input was judged without it.",
            ["operation"],
            registry=self.registry,
        )
        self.cache_bytes = Gauge(
            "sightward_cache_bytes",
            "Bytes that the cache holds in this process's memory.",
            registry=self.registry,
        )
        self.cache_entries = Gauge(
            "sightward_cache_entries",
            "Verdicts that the cache holds in this process's memory.",
            registry=self.registry,
        )

        self.engine_failures = Counter(
            "sightward_engine_failures",
            "Engines that died or hung, or could not be started.",
            ["kind"],
            registry=self.registry,
        )
        self.p_unsafe = Histogram(
            "sightward_p_unsafe",
            "P(unsafe) of inputs, by kind, as they were given: scores known before included.",
            ["modality"],
            buckets=EDGES,
            registry=self.registry,
        )
        self.verdict_categories = Counter(
            "sightward_verdict_categories",
            "Results given, by likeliest category (none where allowed) and the policy's action.",
            ["category", "action"],
            registry=self.registry,
        )
        self.drift = Gauge(
            "sightward_score_drift_psi",
            "Population stability index of the latest 1,000 inputs' P(unsafe) against the "
            "reference window; not a number until both are full.",
            ["modality"],
            registry=self.registry,
        )
        self.phase = Gauge(
            "sightward_phase",
            "1 for the phase that the service is in; it takes new work only when ready.",
            ["phase"],
            registry=self.registry,
        )
        self.model_info = Gauge(
            "sightward_model_info",
            "1 for the model that is served, by its id and all that its verdicts depend on.",
            ["model", "model_version"],
            registry=self.registry,
        )

    def show_drift(self, drift: DriftWatch) -> None:
        """Show, at every scrape, how far the latest scores have moved."""

        def reading(kind: str) -> Callable[[], float]:
            return lambda: drift.index(kind)

        for kind in ("image", "text"):
            self.drift.labels(kind).set_function(reading(kind))

    def count_category(self, verdict: Verdict, action: str) -> None:
        """Count one result under its likeliest category; "none" where it was allowed."""
        if action == "allow":
            category = "none"
        else:
            scores = verdict.categories
            category = max(scores, key=lambda name: scores[name], default="unclassified")
        self.verdict_categories.labels(category, action).inc()

    def show_phase(self, phase: Callable[[], str]) -> None:
        """Show, at every scrape, which phase the service is in."""

        def reading(known: str) -> Callable[[], float]:
            return lambda: float(phase() == known)

        for known in PHASES:
            self.phase.labels(known).set_function(reading(known))

    def name_model(self, model: str, model_version: str) -> None:
        """Name the model that is served, in the place of the one before."""
        self.model_info.clear()
        self.model_info.labels(model, model_version).set(1)

    def observe(self, stage: Stage, duration_ms: float) -> None:
        """Count one duration of a stage."""
        self.stage_seconds.labels(stage).observe(duration_ms / 1000)

    def count_result(self, outcome: str, action: str) -> None:
        """Count one result; the third outcome has a counter of its own to alert on."""
        self.verdicts.labels(outcome, action).inc()
        if outcome == "undetermined":
            self.undetermined.inc()
