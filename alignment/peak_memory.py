"""The most memory that training held: the GPU allocator's peak where there is one."""

import resource

import torch

_GIB = 1 << 30


def restart_peak() -> None:
    """Count from here on, on a GPU; a process's own peak can't be reset."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib() -> float:
    """What torch's allocator held of this process's GPU, else its resident memory, in GiB."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / _GIB, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB, 2)
