"""Rubrics: how a judge is to grade the answers to each benchmark's open questions.

The wording is ours. It follows what the benchmarks grade (MM-Vet: correctness from 0 to 1;
LLaVA-Bench: helpfulness, relevance, accuracy and detail from 1 to 10; RTVLM, after S2: 0 to 10 by
the aspect that a sub-task tests) and lies in a versioned file, since other words give other grades.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from benchmarks.capabilities.tasks import Task
from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file

RUBRICS_FILE = Path(__file__).with_name("rubrics.json")


LOWEST_PLACEHOLDER = "{lowest}"
HIGHEST_PLACEHOLDER = "{highest}"


def _names_the_range(wording: str) -> str:
    """A judge that is not told the range would grade on a scale of its own."""
    for placeholder in (LOWEST_PLACEHOLDER, HIGHEST_PLACEHOLDER):
        if wording.count(placeholder) != 1:
            raise ValueError(f"must contain {placeholder} once")
    return wording


Asking = Annotated[str, AfterValidator(_names_the_range)]


class Rubric(FrozenRecord):
    """How the answers of one benchmark, or of some sub-tasks of it, are graded.

    `grades_reference`: the judge grades the reference too, and the score is the ratio of the two.
    `shows_picture`: the judge is shown the picture that the question is about.
    """

    benchmark: str
    subtasks: tuple[str, ...]
    criteria: str = Field(min_length=1)
    lowest: float
    highest: float
    grades_reference: bool
    shows_picture: bool

    @model_validator(mode="after")
    def _range_is_sound(self) -> Self:
        if not 0.0 <= self.lowest < self.highest:
            raise ValueError("lowest must be at least 0 and below highest")
        if self.grades_reference and self.lowest == 0.0:
            raise ValueError("a graded reference must get more than 0: it divides")
        return self

    def covers(self, task: Task) -> bool:
        """Whether answers to `task` are graded by this rubric."""
        return task.benchmark == self.benchmark and (
            not self.subtasks or task.subtask in self.subtasks
        )


class Rubrics(VersionedRecord):
    """All rubrics of one file; `version` changes with any wording."""

    introduction: str = Field(min_length=1)
    rubrics: tuple[Rubric, ...] = Field(min_length=1)
    ask_one: Asking
    ask_two: Asking

    def asking(self, rubric: Rubric) -> str:
        """What the judge is told to reply under `rubric`."""
        wording = self.ask_two if rubric.grades_reference else self.ask_one
        return wording.replace(LOWEST_PLACEHOLDER, f"{rubric.lowest:g}").replace(
            HIGHEST_PLACEHOLDER, f"{rubric.highest:g}"
        )

    def of(self, task: Task) -> Rubric:
        """The rubric for `task`; raises `ValueError` when there is none."""
        for rubric in self.rubrics:
            if rubric.covers(task):
                return rubric
        raise ValueError(f"no rubric for {task.benchmark!r}, {task.subtask!r}")


@cache
def _shipped_rubrics() -> Rubrics:
    return read_data_file(RUBRICS_FILE, Rubrics)


def load_rubrics(path: Path | None = None) -> Rubrics:
    """The shipped rubrics, or those of a file in the same format; raises `DataFileError`."""
    return _shipped_rubrics() if path is None else read_data_file(path, Rubrics)
