"""The search for a capacity that is known, and what a trial makes of its requests."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from alignment.data.open_set import read_open_set
from benchmarks.load.capacity import CapacityConfig, run_capacity, trial_of
from benchmarks.load.capacity_search import CapacityLimits, SearchPlan, Trial, search_capacity
from benchmarks.load.capacity_tables import capacity_line, capacity_tables, write_capacity_plot
from benchmarks.load.sending import Sent
from benchmarks.load.wire import Reply
from benchmarks.stats import Percentiles

LIMITS = CapacityLimits(p95_ms=500.0, unanswered_share=0.01)


def trial(rate_per_s: float, p95_ms: float, unanswered: float = 0.0) -> Trial:
    latency = Percentiles(100, p95_ms / 2, p95_ms * 0.9, p95_ms, p95_ms * 1.1, p95_ms * 1.2)
    return Trial(rate_per_s, 100, rate_per_s, rate_per_s, rate_per_s, unanswered, 0.0, latency)


def queue(capacity_per_s: float) -> Callable[[float], Trial]:
    """A service that is as quick as a single server with a queue, at most ten seconds long."""

    def tried(rate_per_s: float) -> Trial:
        load = rate_per_s / capacity_per_s
        if load >= 1:
            return trial(rate_per_s, 10_000.0, unanswered=1 - 1 / load)
        return trial(rate_per_s, min(10_000.0, 3000.0 / capacity_per_s / (1 - load)))

    return tried


async def search(
    service: Callable[[float], Trial], plan: SearchPlan, limits: CapacityLimits = LIMITS
) -> tuple[float | None, float | None, bool, list[float]]:
    async def attempt(rate_per_s: float) -> Trial:
        return service(rate_per_s)

    found = await search_capacity(attempt, plan, limits)
    rates = [one.rate_per_s for one in found.trials]
    return found.rate_per_s, found.fails_per_s, found.is_confirmed, rates


@pytest.mark.parametrize("start_per_s", [0.5, 4.0, 90.0, 900.0])
@pytest.mark.parametrize("capacity_per_s", [8.0, 30.0, 300.0])
async def test_a_known_capacity_is_found(capacity_per_s: float, start_per_s: float) -> None:
    # 3000 / c / (1 - r / c) = 500 at r = c - 6.
    right = capacity_per_s - 6.0
    plan = SearchPlan(start_per_s=start_per_s, precision=0.05)
    held, fails, is_confirmed, rates = await search(queue(capacity_per_s), plan)

    assert held is not None
    assert fails is not None
    assert held <= right * (1 + 1e-9) < fails <= held * 1.05
    assert is_confirmed
    assert rates[-2:] == [held, held]


async def test_a_rate_that_held_by_luck_is_not_the_answer() -> None:
    lucky = iter([True])

    def service(rate_per_s: float) -> Trial:
        # Over 10 it holds once, by luck.
        if 10.0 < rate_per_s < 13.0 and next(lucky, False):
            return trial(rate_per_s, 100.0)
        return trial(rate_per_s, 100.0 if rate_per_s <= 10.0 else 900.0)

    held, fails, is_confirmed, _ = await search(service, SearchPlan(start_per_s=12.0))

    assert held is not None
    assert fails is not None
    assert held <= 10.0 < fails
    assert held > 8.5
    assert is_confirmed


async def test_refusals_end_a_rate_however_quick_the_rest() -> None:
    def service(rate_per_s: float) -> Trial:
        return trial(rate_per_s, 50.0, unanswered=max(0.0, 1 - 20.0 / rate_per_s))

    held, _, _, _ = await search(service, SearchPlan(precision=0.02))

    assert held == pytest.approx(20.0, rel=0.03)


async def test_nothing_holds() -> None:
    found = await search(lambda rate: trial(rate, 900.0), SearchPlan(lowest_per_s=1.0))

    assert found == (None, 1.0, False, [4.0, 2.0, 1.0])


async def test_everything_holds_up_to_the_highest_rate_that_may_be_tried() -> None:
    plan = SearchPlan(start_per_s=5.0, highest_per_s=30.0, confirmations=1)
    found = await search(lambda rate: trial(rate, 10.0), plan)

    assert found == (30.0, None, True, [5.0, 10.0, 20.0, 30.0, 30.0])


async def test_the_search_ends_when_its_trials_are_used_up() -> None:
    held, _, is_confirmed, rates = await search(queue(100.0), SearchPlan(trials=3))

    assert (held, is_confirmed, rates) == (16.0, False, [4.0, 8.0, 16.0])


def test_no_answer_at_all_does_not_hold() -> None:
    nothing = Trial(1.0, 5, 1.0, 0.0, 0.0, 0.0, 0.0, None)

    assert not nothing.holds(LIMITS)


def test_a_trial_counts_ends_and_the_time_that_a_backlog_took() -> None:
    sent = [
        Sent(10.0, 10.0, 10.1, "ok"),
        Sent(11.0, 11.0, 15.0, "ok"),
        Sent(12.0, 12.0, 12.0, "refused"),
        Sent(13.0, 13.0, 14.0, "cancelled"),
    ]
    found = trial_of(2.0, sent, seconds=4.0, limits=LIMITS)

    assert found.offered_per_s == 1.0
    assert found.throughput_per_s == pytest.approx(2 / 5)  # the last came a second too late
    assert found.goodput_per_s == pytest.approx(1 / 5)
    assert (found.refused_share, found.failed_share) == (0.25, 0.25)
    assert found.latency_ms is not None
    assert found.latency_ms.maximum == pytest.approx(4000.0)


class Bounded:
    """Answers the first so many requests of a trial and refuses the others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen = 0

    def next_trial(self) -> None:
        self._seen = 0

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        assert json.loads(body)["input"]
        self._seen += 1
        return Reply(200 if self._seen <= self._most else 429, {}, b"{}", 0.0)


async def test_a_running_service_is_measured_recorded_and_drawn(tmp_path: Path) -> None:
    config = CapacityConfig(
        "http://service.test",
        CapacityLimits(p95_ms=60_000.0),
        SearchPlan(start_per_s=50.0, precision=0.5, confirmations=0),
        seconds=0.3,
        settle_s=0.0,
    )
    service = Bounded(most=40)  # 133 a second
    told: list[Trial] = []

    def on_trial(trial: Trial) -> None:
        told.append(trial)
        service.next_trial()

    record = await run_capacity(
        config, read_open_set(), service, model_version="m", on_trial=on_trial, with_client=False
    )

    held = [one.requests for one in told if one.holds(config.limits)]
    failed = [one.requests for one in told if not one.holds(config.limits)]
    assert max(held) <= 40 < min(failed)
    assert record["figures"]["rate_per_s"] < record["figures"]["fails_per_s"]
    assert [one["holds"] for one in record["measurements"]].count(True) == len(held)
    (table,) = capacity_tables(record)
    assert table.row_count == len(told)
    assert "not answered" in capacity_line(record)
    write_capacity_plot(record, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
