"""Freed memory is kept for the next forward pass, not given back and fetched anew.

As shipped, glibc takes large blocks straight from the kernel and gives them back as soon as they
are freed. A vision tower frees such blocks at every layer, and the kernel clears each page before
it hands it out again: on a CPU that took half of the tower's time, more in large batches (21 ms a
picture at 16, 5.4 without). Training gains next to nothing by it and is left as it is.
"""

import ctypes
import multiprocessing
import os
import sys

KEPT_BYTES = 1 << 30
"""Blocks up to this size come from the heap, and so much of it may lie free at its end. The most
that is kept is what was in use at once."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_OPERATORS_OWN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """For this process, from now on; nothing where the operator or another allocator decides.

    Safe to call twice.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OPERATORS_OWN):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # An older glibc refuses the first; the second alone would only stop it from adapting itself.
    if mallopt is not None and mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES):
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def keep_in_engine() -> None:
    """The same in vLLM's engine process; nothing in the process that starts it.

    vLLM calls this in both (entry point ``vllm.general_plugins``). The server itself decodes
    pictures of all sizes, gains little, and would grow by a hundred megabytes.
    """
    if multiprocessing.parent_process() is not None:
        keep_freed_memory()
