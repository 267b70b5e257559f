"""The service under test, in processes of its own, and what can be seen of it from outside.

It is what users run, `sightward serve`; with the engine `stub` the same app on an engine without a
model (`benchmarks.faults.stub_service`), which proves the API and not the service.
"""

import json
import math
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from benchmarks.errors import MeasurementError
from benchmarks.load.wire import LostError, Wire
from benchmarks.processes.http import ServerProcess

EngineKind = Literal["real", "stub"]

_ENGINE_NAMES = ("EngineCore", "sightward-stub-core")


class Service(ServerProcess):
    """A server that starts on entering and is stopped on leaving, whatever became of it."""

    def __init__(
        self, log: Path, *, engine: EngineKind, environ: Mapping[str, str] | None = None
    ) -> None:
        module = "server" if engine == "real" else "benchmarks.faults.stub_service"
        super().__init__(log, environ=environ, module=module)
        self.log = log

    @property
    def is_running(self) -> bool:
        """Whether the process that answers is still there."""
        return self.exit_status is None

    def engine_pid(self) -> int:
        """vLLM's engine process, a child of the server; raises `MeasurementError` without one."""
        for child in psutil.Process(self.pid).children(recursive=True):
            with_names = (child.name(), *child.cmdline())
            if any(mark in name for mark in _ENGINE_NAMES for name in with_names):
                return int(child.pid)
        raise MeasurementError("the server has no engine process")

    def send_signal(self, number: signal.Signals) -> None:
        """To the process that answers."""
        psutil.Process(self.pid).send_signal(number)

    def ended(self, *, timeout_s: float) -> int | None:
        """Wait for it to end; None if it does not in time."""
        try:
            return self.wait(timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    async def model_version(self) -> str:
        """What is served, exactly."""
        async with Wire(self.url) as wire:
            models = json.loads((await wire.request("GET", "/v1/models")).body)
        return str(models["data"][0]["sightward"]["model_version"])

    async def is_ready(self) -> bool:
        """What `/readyz` says; no answer is a no."""
        async with Wire(self.url, timeout_s=15.0) as wire:
            try:
                return (await wire.request("GET", "/readyz")).status == 200
            except LostError:
                return False

    async def metrics(self) -> "Metrics":
        """What `/metrics` says now."""
        async with Wire(self.url) as wire:
            return Metrics((await wire.request("GET", "/metrics")).body.decode())

    def log_bytes(self) -> int:
        """How long the log is; what is written later stands behind it."""
        return self.log.stat().st_size

    def log_events(self, *, since_bytes: int = 0) -> list[dict[str, Any]]:
        """The log's lines that are events (JSON objects), those written since then."""
        with self.log.open("rb") as file:
            file.seek(since_bytes)
            return list(_events(file.read().decode("utf-8", errors="replace").splitlines()))


class Metrics:
    """One scrape in Prometheus' text format."""

    def __init__(self, text: str) -> None:
        self._lines = tuple(line for line in text.splitlines() if not line.startswith("#"))

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples called `name` that carry `labels`; not a number without one."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        values = [
            float(line.rpartition(" ")[2])
            for line in self._lines
            if line.startswith((f"{name}{{", f"{name} ")) and all(one in line for one in wanted)
        ]
        return sum(values) if values else math.nan


def _events(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue
