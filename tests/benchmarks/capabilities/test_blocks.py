"""Blocks: one mode each, cut where the subject changes, the modes in turn."""

from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.capabilities.blocks import cut
from benchmarks.capabilities.tasks import Mode, Subject, Task


def tasks_about(names: str, mode: Mode = "token") -> list[Task]:
    """One task a letter; letters that repeat next to each other are about one subject."""
    return [
        Task(
            id=f"{mode}/{index}",
            suite="alignment",
            mode=mode,
            modality="words",
            kind="judged",
            subject=Subject(name, name, "", "Safe", False),
            question="fit",
            prompt="Is it fit?",
            right="safe",
        )
        for index, name in enumerate(names)
    ]


def names(block: tuple[Task, ...]) -> str:
    return "".join(task.subject.id for task in block)


@pytest.mark.parametrize(
    ("subjects", "size", "expected"),
    [
        ("aabbcc", 2, ["aa", "bb", "cc"]),
        ("aabbcc", 3, ["aabb", "cc"]),
        ("aaaab", 2, ["aaaa", "b"]),
        ("abc", 1, ["a", "b", "c"]),
        ("abc", 99, ["abc"]),
        ("", 4, []),
    ],
)
def test_a_block_ends_where_the_subject_changes(
    subjects: str, size: int, expected: list[str]
) -> None:
    assert [names(block) for block in cut(tasks_about(subjects), size=size)] == expected


def test_the_modes_take_turns() -> None:
    mixed = list(chain(tasks_about("abc"), tasks_about("xy", mode="written")))

    assert [names(block) for block in cut(mixed, size=1)] == ["a", "x", "b", "y", "c"]


@given(subjects=st.text("abc", max_size=30), size=st.integers(1, 8))
def test_every_task_is_in_one_block(subjects: str, size: int) -> None:
    tasks = [*tasks_about(subjects), *tasks_about(subjects, mode="written")]
    blocks = cut(tasks, size=size)

    assert sorted(task.id for block in blocks for task in block) == sorted(one.id for one in tasks)
    assert all(len({task.mode for task in block}) == 1 for block in blocks)


def test_an_empty_block_size_is_refused(task: Callable[..., Task]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        cut([task()], size=0)
