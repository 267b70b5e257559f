"""What is counted of batches."""

from collections import Counter as Tally
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from server.batches.facts import Status

LineOutcome = Literal["completed", "failed", "cancelled", "expired"]
_OUTCOMES: tuple[LineOutcome, ...] = ("completed", "failed", "cancelled", "expired")


class BatchMetrics:
    """Batches by status, as they lie in the folder, and lines answered by this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batches = Gauge(
            "sightward_batches",
            "Batches in the folder, by status; replicas that share a folder all show them.",
            ["status"],
            registry=registry,
        )
        self._lines = Counter(
            "sightward_batch_lines",
            "Lines of batches answered: judged (completed), refused one by one (failed), or not "
            "judged any more since the batch was cancelled or expired.",
            ["outcome"],
            registry=registry,
        )
        self._running = Gauge(
            "sightward_batch_lines_running",
            "Lines of batches that are being judged.",
            registry=registry,
        )
        for outcome in _OUTCOMES:
            self._lines.labels(outcome)
        self.show(Tally())

    def show(self, batches: "Tally[Status]") -> None:
        """Show how many batches there are."""
        for status in Status:
            self._batches.labels(status.value).set(batches[status])

    def show_running(self, lines: int) -> None:
        """Show how many lines are being judged."""
        self._running.set(lines)

    def count(self, outcome: LineOutcome, lines: int = 1) -> None:
        """Count answered lines."""
        self._lines.labels(outcome).inc(lines)
