"""Cuts a plan into blocks: what goes to the engine as one list, and is written down as one.

Blocks decide which questions share a forward pass, so they depend on the plan and the block size
alone. The modes take turns, so that a machine that slows down is fair to both.
"""

from collections.abc import Sequence
from itertools import chain, zip_longest

from benchmarks.capabilities.tasks import Task


def cut(tasks: Sequence[Task], *, size: int) -> tuple[tuple[Task, ...], ...]:
    """Blocks of one mode each with at least `size` tasks, but for the last of a mode.

    A block ends where the subject changes: the questions about one picture share its prefix in the
    engine's cache. Raises `ValueError` for a size below 1.
    """
    if size < 1:
        raise ValueError(f"a block has at least one task, not {size}")
    modes = dict.fromkeys(task.mode for task in tasks)
    by_mode = [_cut_one([task for task in tasks if task.mode == mode], size) for mode in modes]
    turns = chain.from_iterable(zip_longest(*by_mode))
    return tuple(block for block in turns if block is not None)


def _cut_one(tasks: Sequence[Task], size: int) -> list[tuple[Task, ...]]:
    blocks: list[tuple[Task, ...]] = []
    block: list[Task] = []
    for task in tasks:
        if len(block) >= size and task.subject.id != block[-1].subject.id:
            blocks.append(tuple(block))
            block = []
        block.append(task)
    if block:
        blocks.append(tuple(block))
    return blocks
