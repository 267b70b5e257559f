"""A host's processes from outside: what they use, and how they are kept still while others run."""

import contextlib
import signal
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all below it: processor seconds so far, and memory now.

    Pages that several of them share count once in `memory_mib` (the proportional set size).
    """

    cpu_s: float
    memory_mib: float


def usage(pid: int) -> Usage:
    """Of the tree under `pid`; a process that ends meanwhile counts nothing."""
    cpu_s = memory = 0.0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_s += times.user + times.system
            memory += _memory_bytes(process)
    return Usage(cpu_s, memory / _MIB)


def cpu_seconds(pid: int) -> float:
    """The processor seconds alone, which cost next to nothing to read."""
    total = 0.0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def cpu_seconds_by_process(pid: int) -> dict[str, float]:
    """Processor seconds of the first process (`server`) and of all below it (`engine`)."""
    found = {"server": 0.0, "engine": 0.0}
    for place, process in enumerate(_tree(pid)):
        name = "engine" if place else "server"
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[name] += times.user + times.system
    return found


def keep_still(pid: int) -> None:
    """Stop the tree until `go_on`."""
    _signal(_tree(pid), signal.SIGSTOP)


def go_on(pid: int) -> None:
    """Let a tree that was stopped run again."""
    _signal(_tree(pid), signal.SIGCONT)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _memory_bytes(process: psutil.Process) -> float:
    try:
        full = process.memory_full_info()
        return float(getattr(full, "pss", 0) or full.rss)
    except psutil.AccessDenied:
        return float(process.memory_info().rss)
