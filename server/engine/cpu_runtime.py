"""The process environment in which vLLM answers fastest on a CPU.

vLLM runs its engine core in a child process that it spawns (never forks) on a CPU, and the dynamic
linker reads that child's environment as it starts. So the settings need only be in place while the
core is being spawned: nothing has to be exported in a shell, this process is not re-executed, and
no setting leaks into whatever else it starts later. An operator's own values always win.
"""

import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

KV_CACHE_GIB = 1
"""Room for the key-value cache unless the operator sets ``VLLM_CPU_KVCACHE_SPACE`` (whole GiB)."""

BLOCK_SIZE = 32
"""Tokens a cache block: with vLLM's default of 128 a prompt of 60 tokens never fills a block, so
questions about the same picture share nothing; 16 is refused by the CPU attention kernels."""

_OPENMP_PACKAGE = "intel-openmp"
_OPENMP_LIBRARY = "libiomp5.so"
_OPENMP_NAMES = ("libiomp", "libgomp", "libomp")

_ANY_DEVICE = {
    # vLLM's start-up chatter and its notes on absent accelerators bury our own log.
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TORCH_LOGS": "-all",
    "PYTHONWARNINGS": "ignore::FutureWarning",
}
_LOCAL_MODEL = {
    # Every file is at hand: no look-up may leave the machine or wait for a network.
    "HF_HUB_OFFLINE": "1",
}
_CPU = {
    # Keeps the worker inside the core's process: several times faster to start, and vLLM then
    # does not bind it to one of two cores.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
}


def engine_environment(
    environ: Mapping[str, str], *, on_cpu: bool, is_local_model: bool
) -> dict[str, str]:
    """The variables to add to `environ` for vLLM's engine core; none that it already sets."""
    wanted = dict(_ANY_DEVICE)
    if is_local_model:
        wanted |= _LOCAL_MODEL
    if on_cpu:
        wanted |= _CPU
    missing = {name: value for name, value in wanted.items() if name not in environ}
    if on_cpu:
        missing |= _openmp_preload(environ, openmp_library())
    return missing


def _openmp_preload(environ: Mapping[str, str], library: Path | None) -> dict[str, str]:
    preloaded = environ.get("LD_PRELOAD", "")
    if library is None or any(name in preloaded for name in _OPENMP_NAMES):
        return {}
    # torch's own libgomp keeps threads spinning at every barrier and stalls where cores are
    # shared; Intel's gives a core back after KMP_BLOCKTIME milliseconds.
    preload = {"LD_PRELOAD": f"{preloaded}:{library}" if preloaded else str(library)}
    if "KMP_BLOCKTIME" not in environ:
        preload["KMP_BLOCKTIME"] = "5"
    return preload


def openmp_library() -> Path | None:
    """Intel's OpenMP runtime from the installed package; None where that is not installed."""
    try:
        files = importlib.metadata.files(_OPENMP_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == _OPENMP_LIBRARY:
            path = Path(str(file.locate())).resolve()
            return path if path.is_file() else None
    return None


@contextmanager
def environment(additions: Mapping[str, str]) -> Iterator[None]:
    """Set `additions` in this process's environment; put it back on leaving.

    Child processes started inside the block inherit them.
    """
    before = {name: os.environ.get(name) for name in additions}
    os.environ.update(additions)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
