"""Scores open answers by the words they share with a reference, where there is no judge.

A crude measure, named as what it is: it can't tell a right answer in other words from a wrong one,
nor a negation from what it negates. It serves to compare two trainings of one model, not models.

- MM-Vet: the share of the reference's words that the answer has. ``<OR>`` takes the best of its
  alternatives, ``<AND>`` the mean of its parts. References are short and answers are not, so words
  beyond the reference cost nothing.
- LLaVA-Bench: F1 of the words, each counted as often as it occurs, since references are long and an
  answer that says everything would otherwise win.
"""

import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.capabilities.general import llava_bench, mm_vet
from benchmarks.capabilities.general.items import BY_WORDS_SUFFIX
from benchmarks.capabilities.tasks import Task

# A number keeps its sign and its point: "-1" and "1" are two answers, as are "1.5" and "15".
_WORD = re.compile(r"(?<![\w.])-?\d+(?:[.,/:]\d+)*|[^\W\d_]+|\d+")


class WordOverlap:
    """Scores answers to tasks whose benchmark's name ends with `BY_WORDS_SUFFIX`."""

    @property
    def name(self) -> str:
        """Names the measure and its version, for records."""
        return "word-overlap/1"

    async def score(self, answered: Sequence[tuple[Task, str]]) -> list[float | None]:
        """A score in [0, 1] for each answer, None for one without words.

        Raises `ValueError` for a task that words can't score.
        """
        return [_score(task, answer) for task, answer in answered]


def _score(task: Task, answer: str) -> float | None:
    said = _words(answer)
    if task.benchmark == mm_vet.NAME + BY_WORDS_SUFFIX:
        return _covered(task.right, said) if said else None
    if task.benchmark == llava_bench.NAME + BY_WORDS_SUFFIX:
        return _f1(_words(task.right), said) if said else None
    raise ValueError(f"{task.benchmark!r} is not scored by words")


def _covered(reference: str, said: Counter[str]) -> float:
    parts = [
        max(_recall(_words(alternative), said) for alternative in part.split("<OR>"))
        for part in reference.split("<AND>")
    ]
    return sum(parts) / len(parts)


def _recall(wanted: Counter[str], said: Counter[str]) -> float:
    return (wanted & said).total() / wanted.total() if wanted else 0.0


def _f1(wanted: Counter[str], said: Counter[str]) -> float:
    return 2 * (wanted & said).total() / (wanted.total() + said.total())


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.casefold()))
