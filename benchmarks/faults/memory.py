"""How much memory the service holds while it is under load: sampled, and held against flatness.

What is sampled is the resident memory of the server and all its children, shared pages of each
counted by itself (as `ps` shows them).
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil  # type: ignore[import-untyped]

_MIB = float(1 << 20)
_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident memory at one moment, by `time.monotonic`."""

    at_s: float
    server_mib: float
    engine_mib: float

    @property
    def total_mib(self) -> float:
        """Server and engine together."""
        return self.server_mib + self.engine_mib


@dataclass(frozen=True, slots=True)
class MemoryCourse:
    """A run's memory; `slope_mib_per_min` is that of the least-squares line."""

    samples: int
    first_mib: float
    last_mib: float
    low_mib: float
    high_mib: float
    slope_mib_per_min: float

    @property
    def range_mib(self) -> float:
        """From the lowest to the highest."""
        return self.high_mib - self.low_mib


def memory_course(samples: Sequence[MemorySample]) -> MemoryCourse | None:
    """What became of the memory; None with fewer than two samples, which show no course."""
    if len(samples) < 2:
        return None
    totals = [one.total_mib for one in samples]
    minutes = [(one.at_s - samples[0].at_s) / 60.0 for one in samples]
    slope = float(np.polyfit(minutes, totals, deg=1)[0])
    return MemoryCourse(len(samples), totals[0], totals[-1], min(totals), max(totals), slope)


class MemoryWatch:
    """Samples a process and its children while the context is open."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)
        # Looked for once: to find children, every process of the machine is read.
        self._children = self._server.children(recursive=True)
        self.samples: list[MemorySample] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "MemoryWatch":
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            self.samples.append(self._sample())
            await asyncio.sleep(_EVERY_S)

    def _sample(self) -> MemorySample:
        children_bytes = 0
        for child in self._children:
            with contextlib.suppress(psutil.NoSuchProcess):
                children_bytes += child.memory_info().rss
        server_bytes = self._server.memory_info().rss
        return MemorySample(time.monotonic(), server_bytes / _MIB, children_bytes / _MIB)
