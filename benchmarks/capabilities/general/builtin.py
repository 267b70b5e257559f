"""The built-in benchmark: 99 easy questions that need no download and no judge.

Objects and presence are asked about safe pictures of a given set (the open set, out of the box),
colours, shapes, counts and sides about generated ones. It is no rival of MME: a model that sees at
all answers most of it, so a drop tells that an alignment has cost general ability, which S1
measures with MME and LLaVA-Bench.
"""

from collections.abc import Collection

from alignment.data.manifest import ImageSet
from benchmarks.capabilities.general.items import tasks_of
from benchmarks.capabilities.general.object_questions import object_questions
from benchmarks.capabilities.general.shape_questions import shape_questions
from benchmarks.capabilities.tasks import Mode, Task


def builtin_tasks(image_set: ImageSet, *, modes: Collection[Mode], seed: int) -> list[Task]:
    """The questions in each of `modes`, the same for the same set and seed.

    Raises `MeasurementError` for a set with fewer than four safe things to tell apart.
    """
    items = [*object_questions(image_set, seed), *shape_questions(seed)]
    return tasks_of(items, modes=modes, seed=seed)
