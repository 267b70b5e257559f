"""The race: every contender in turn, round after round, on the same pictures with fresh pixels.

One contender has work at any moment. The hosts of the others are stopped (SIGSTOP), since an engine
that waits by spinning would take cores; with `restart` they are not there at all, which takes less
memory and more time. The order turns around from round to round, and the first round is thrown
away. A few untimed pictures wake a host before its turn counts.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fresh_images import FreshImages
from benchmarks.peers.contender import Contender, Host, NotInstalledError, Ran, Turn
from benchmarks.peers.figures import (
    HostFigures,
    Measured,
    Round,
    contender_figures,
    over_rounds,
    percentile,
    ratio,
)
from benchmarks.peers.goals import peer_goals
from benchmarks.peers.line_up import NOTHING, OURS, LineUp
from benchmarks.peers.processes import cpu_seconds, go_on, keep_still, usage

_WAKING = 2


@dataclass(frozen=True, slots=True)
class PeersConfig:
    """`images` go to a contender's clients in a round, `singles` one at a time."""

    clients: int = 16
    rounds: int = 5
    images: int = 48
    singles: int = 12
    longest_side_px: int | None = 288
    restart: bool = False
    seed: int = 2024
    caches: str = "off: every turn has pixels of its own"


@dataclass(slots=True)
class Outcome:
    """What the race came to; `missing` says why a contender did not run."""

    rounds: list[Round] = field(default_factory=list)
    hosts: dict[str, HostFigures] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Race:
    """Runs `line_up`; `on_step` is told what happens now."""

    def __init__(
        self,
        config: PeersConfig,
        line_up: LineUp,
        pictures: FreshImages,
        *,
        on_step: Callable[[str], None],
    ) -> None:
        self._config = config
        self._line_up = line_up
        self._pictures = pictures
        self._on_step = on_step
        self._pass = 0
        self._running: dict[str, Host] = {}
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Start, measure, end; raises what hosts and contenders raise."""
        with contextlib.ExitStack() as stack:
            if not self._config.restart:
                for key in self._line_up.hosts:
                    self._start(key, stack)
            try:
                for number in range(self._config.rounds + 1):
                    one = self._round(number)
                    if number > 0:
                        self._outcome.rounds.append(one)
            except (KeyboardInterrupt, SystemExit):
                # Cut short by its caller: the whole rounds that there are count.
                if not self._outcome.rounds:
                    raise
        return self._outcome

    def _round(self, number: int) -> Round:
        found: dict[str, Measured] = {}
        contenders = self._line_up.contenders
        for one in contenders if number % 2 == 0 else contenders[::-1]:
            if one.name in self._outcome.missing:
                continue
            self._on_step(f"round {number} of {self._config.rounds}: {one.title}")
            with self._awake(one) as host:
                if host is not None:
                    measured = self._turn(one, host, is_warm_up=number == 0)
                    self._on_step(f"{one.name}: {measured.images_per_s:.3g} images a second")
                    found[one.name] = measured
        return found

    @contextlib.contextmanager
    def _awake(self, contender: Contender) -> Iterator[Host | None]:
        """The contender's host, at work for the duration; None where it is not installed."""
        key = contender.host
        with contextlib.ExitStack() as own:
            if self._config.restart:
                self._start(key, own)
            host = self._running.get(key)
            if host is None:
                yield None
                return
            go_on(host.pid)
            try:
                yield host
            finally:
                self._note_memory(key, host)
                if self._config.restart:
                    del self._running[key]
                else:
                    keep_still(host.pid)

    def _start(self, key: str, stack: contextlib.ExitStack) -> None:
        self._on_step(f"starting {key}")
        began_s = time.monotonic()
        try:
            host = stack.enter_context(self._line_up.hosts[key]())
        except NotInstalledError as error:
            for one in self._line_up.contenders:
                if one.host == key:
                    self._outcome.missing[one.name] = f"not installed: {error.how}"
            return
        # A stopped process does not hear that it is to end.
        stack.callback(lambda: go_on(host.pid))
        host.wait_until_ready()
        self._outcome.hosts.setdefault(key, HostFigures(time.monotonic() - began_s, 0.0))
        self._running[key] = host
        if not self._config.restart:
            keep_still(host.pid)

    def _note_memory(self, key: str, host: Host) -> None:
        before = self._outcome.hosts[key]
        now = usage(host.pid).memory_mib
        self._outcome.hosts[key] = HostFigures(before.start_s, max(before.memory_mib, now))

    def _turn(self, one: Contender, host: Host, *, is_warm_up: bool) -> Measured:
        """Wake it, one picture at a time, then all clients (unless it takes them singly)."""
        self._ask(one, _WAKING, 1)
        share = one.share / 4 if is_warm_up else one.share
        singles = _at_least_two(self._config.singles * share)
        if one.is_serial:
            singles = _at_least_two(self._config.images * share)
        cpu_began_s = cpu_seconds(host.pid)
        single = self._ask(one, singles, 1)
        loaded, count = single, singles
        if not one.is_serial:
            count = max(_at_least_two(self._config.images * share), self._config.clients)
            cpu_began_s = cpu_seconds(host.pid)
            loaded = self._ask(one, count, self._config.clients)
        cpu_s = cpu_seconds(host.pid) - cpu_began_s
        is_single_file = len(loaded.latencies_ms) == count and not one.is_serial
        return Measured(
            images_per_s=count / loaded.seconds,
            p50_ms=percentile(single.latencies_ms, 50),
            p95_ms=percentile(single.latencies_ms, 95),
            cpu_ms=cpu_s * 1000 / count,
            client_cpu_ms=loaded.client_cpu_s * 1000 / count,
            loaded_p50_ms=percentile(loaded.latencies_ms, 50) if is_single_file else None,
            loaded_p95_ms=percentile(loaded.latencies_ms, 95) if is_single_file else None,
        )

    def _ask(self, one: Contender, count: int, at_once: int) -> Ran:
        """Judge so many pictures, whose pixels nobody has been sent before."""
        self._pass += 1
        files = self._pictures.encode(pass_number=self._pass, count=count)
        with tempfile.TemporaryDirectory(prefix="sightward-peers-") as name:
            folder = Path(name)
            for index, data in enumerate(files):
                (folder / f"{index:05d}.jpg").write_bytes(data)
            return one.judge(Turn(files, folder, at_once))


def race_figures(outcome: Outcome, line_up: LineUp, *, cores: int) -> dict[str, Any]:
    """The record's figures: a row a contender in the table's order, and the goals."""
    return {
        "contenders": {
            one.name: {
                "title": one.title,
                "note": one.note,
                "is_serial": one.is_serial,
                "does_judge": one.name != NOTHING,
                "missing": outcome.missing.get(one.name),
                **contender_figures(outcome.rounds, one.name),
                "ours_times": over_rounds(outcome.rounds, partial(_ours_times, name=one.name)),
                **_host_figures(outcome.hosts.get(one.host)),
            }
            for one in line_up.contenders
        },
        "goals": [asdict(goal) for goal in peer_goals(outcome.rounds, cores=cores)],
        "cores": cores,
    }


def round_rows(rounds: Sequence[Round]) -> list[Mapping[str, Any]]:
    """What was measured, round by round, for the record."""
    return [{name: asdict(one) for name, one in found.items()} for found in rounds]


def _ours_times(one: Round, name: str) -> float | None:
    return ratio(one, OURS, name)


def _host_figures(host: HostFigures | None) -> dict[str, float | None]:
    return {
        "start_s": None if host is None else host.start_s,
        "memory_mib": None if host is None else host.memory_mib,
    }


def _at_least_two(count: float) -> int:
    return max(2, round(count))
