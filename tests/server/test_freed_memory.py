"""Freed memory stays with the process that asked for it, unless an operator decides otherwise."""

import subprocess
import sys

import pytest

MEASURE = """
import resource
import sys
import numpy
from server import freed_memory

KEEP
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        numpy.empty(64 << 20, dtype=numpy.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def page_faults(keep: str, **environ: str) -> int:
    """Of ten blocks of 64 MiB, one after the other, once the first ones were freed."""
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE.replace("KEEP", keep)],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **environ},
    )
    return int(ran.stdout)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")


def test_freed_blocks_are_used_again_without_the_kernel() -> None:
    # 64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB where those are used by themselves.
    usual = page_faults("")
    assert usual >= 10 * 32
    assert page_faults("freed_memory.keep_freed_memory()") < usual / 10


def test_an_operators_own_choice_stands() -> None:
    keep = "freed_memory.keep_freed_memory()"
    told = page_faults(keep, MALLOC_MMAP_THRESHOLD_="131072", MALLOC_TRIM_THRESHOLD_="131072")
    assert told >= 10 * 32


def test_the_process_that_starts_engines_is_left_alone() -> None:
    assert page_faults("freed_memory.keep_in_engine()") >= 10 * 32
