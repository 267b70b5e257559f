"""How much memory this machine, or the container around us, can still give."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP_V2 = Path("/sys/fs/cgroup")


def free_memory_bytes(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP_V2) -> int | None:
    """Bytes that can be allocated without swapping or being killed; None where unknown.

    The smaller of what the kernel says is available and what a cgroup-v2 limit leaves; page cache
    inside the limit counts as free, since the kernel drops it when asked for memory.
    """
    known = [b for b in (_machine_bytes(meminfo), _container_bytes(cgroup)) if b is not None]
    return min(known) if known else None


def _machine_bytes(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _container_bytes(cgroup: Path) -> int | None:
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        statistics = (cgroup / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    page_cache = next((int(s.split()[1]) for s in statistics if s.startswith("inactive_file ")), 0)
    return max(0, int(limit) - used + page_cache)
