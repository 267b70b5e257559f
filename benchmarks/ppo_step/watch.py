"""Seconds of each part of a step, and the memory that it takes at its worst."""

import ctypes
import gc
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import nn

GIB = float(1 << 30)

_STATM = Path("/proc/self/statm")
_EVERY_S = 0.002


class StepWatch:
    """Times parts by laps; a context manager that also follows memory.

    `peak_gib` is what was in use at most beyond what was in use at the start: on a GPU by torch's
    own count, elsewhere by the process's resident memory, looked at every 2 ms; None where neither
    is known.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_bytes = self._peak_bytes = 0
        self.seconds: dict[str, float] = {}
        self.peak_gib: float | None = None

    def __enter__(self) -> Self:
        _give_back_free_memory()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._start_bytes = torch.cuda.memory_allocated(self._device)
        elif _STATM.is_file():
            self._start_bytes = self._peak_bytes = _resident_bytes()
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()
        self._since_s = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            self._peak_bytes = torch.cuda.max_memory_allocated(self._device)
        elif self._thread is None:
            return
        else:
            self._has_ended.set()
            self._thread.join()
        self.peak_gib = max(self._peak_bytes - self._start_bytes, 0) / GIB

    def lap(self, name: str) -> None:
        """The time since the last lap was spent on `name`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now_s = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now_s - self._since_s
        self._since_s = now_s

    def _follow(self) -> None:
        while not self._has_ended.wait(_EVERY_S):
            self._peak_bytes = max(self._peak_bytes, _resident_bytes())


def weights_gib(modules: Iterable[nn.Module]) -> float:
    """What the modules' weights take, shared ones once."""
    held = {
        tensor.data_ptr(): tensor.nbytes
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(held.values()) / GIB


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _give_back_free_memory() -> None:
    """What the other contender freed must not be there to be used again unseen."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another libc
        return
