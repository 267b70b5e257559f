"""How fast a replay was answered: latencies by how requests ended, throughput, goodput.

Goodput counts answers that came within the objective. Latency counts from when a request was due
(`benchmarks.load.open_loop`); what the service alone took is told beside it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load.sending import ENDS, End
from benchmarks.replay.rows import Row
from benchmarks.stats import Percentiles, percentiles


@dataclass(frozen=True, slots=True)
class EndFigures:
    """Requests that ended alike; `latency_ms` from when due, `service_ms` from when sent."""

    count: int
    share: float
    latency_ms: Percentiles | None
    service_ms: Percentiles | None


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Over `seconds`, from when the first request was due to when the last one ended.

    `goodput_share` is of all requests. `lag_ms` is how late the client sent what was due.
    `from_cache` counts answers whose scores were not made for them.
    """

    requests: int
    seconds: float
    offered_per_s: float
    throughput_per_s: float
    goodput_per_s: float
    goodput_share: float
    objective_ms: float
    by_end: Mapping[End, EndFigures]
    lag_ms: Percentiles | None
    codes: Mapping[str, int]
    from_cache: int


def latency_of(rows: Sequence[Row], *, objective_ms: float) -> LatencyFigures:
    """All figures; `rows` is not empty."""
    seconds = max(row.ended_s for row in rows) - min(row.due_s for row in rows)
    answered = [row for row in rows if row.end == "ok"]
    in_time = sum(row.latency_ms <= objective_ms for row in answered)
    return LatencyFigures(
        requests=len(rows),
        seconds=seconds,
        offered_per_s=len(rows) / seconds,
        throughput_per_s=len(answered) / seconds,
        goodput_per_s=in_time / seconds,
        goodput_share=in_time / len(rows),
        objective_ms=objective_ms,
        by_end={end: _of_end(rows, end) for end in ENDS},
        lag_ms=percentiles([(row.sent_s - row.due_s) * 1000 for row in rows]),
        codes=dict(Counter(row.code for row in rows if row.code is not None)),
        from_cache=sum(row.from_cache for row in answered),
    )


def _of_end(rows: Sequence[Row], end: End) -> EndFigures:
    found = [row for row in rows if row.end == end]
    return EndFigures(
        len(found),
        len(found) / len(rows),
        percentiles([row.latency_ms for row in found]),
        percentiles([row.service_ms for row in found]),
    )
