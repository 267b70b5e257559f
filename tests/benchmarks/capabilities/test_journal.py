"""The journal: nothing that was written down is lost, nothing else is taken for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.capabilities.journal import Journal
from benchmarks.capabilities.schema import AnswerRow
from benchmarks.capabilities.tasks import Task
from benchmarks.errors import MeasurementError

IDENTITY = {"model": "m@1", "questions": "abc", "sampling": {"top_p": 0.9}}


@pytest.fixture
def row(task: Callable[..., Task]) -> Callable[..., AnswerRow]:
    def make(name: str = "cat", p_unsafe: float = 0.1 + 0.2) -> AnswerRow:
        one = task(name)
        return AnswerRow(
            task=one.id,
            suite=one.suite,
            mode=one.mode,
            modality=one.modality,
            kind=one.kind,
            subject=name,
            group=one.subject.group,
            concept="",
            category="Safe",
            is_unsafe=False,
            question=one.question,
            right="safe",
            outcome="safe",
            score=1.0,
            p_unsafe=p_unsafe,
        )

    return make


def test_blocks_come_back_exactly(tmp_path: Path, row: Callable[..., AnswerRow]) -> None:
    with Journal(tmp_path / "run", IDENTITY) as journal:
        journal.add(0, [row("cat"), row("cup", p_unsafe=1e-17)], seconds=0.25)
        journal.add(1, [row("fire")], seconds=0.5)
        written = dict(journal.blocks)

    with Journal(tmp_path / "run", IDENTITY) as again:
        assert dict(again.blocks) == written
        assert again.parts == 1


def test_each_part_of_a_run_is_counted(tmp_path: Path, row: Callable[..., AnswerRow]) -> None:
    for index in range(3):
        with Journal(tmp_path, IDENTITY) as journal:
            journal.add(index, [row(f"example {index}")], seconds=0.1)

    with Journal(tmp_path, IDENTITY) as journal:
        assert [block.part for block in journal.blocks.values()] == [0, 1, 2]


def test_a_line_cut_short_is_dropped_and_the_rest_kept(
    tmp_path: Path, row: Callable[..., AnswerRow]
) -> None:
    with Journal(tmp_path, IDENTITY) as journal:
        journal.add(0, [row("cat")], seconds=0.1)
        journal.add(1, [row("cup")], seconds=0.1)
    answers = tmp_path / "answers.jsonl"
    answers.write_bytes(answers.read_bytes()[:-20])

    with Journal(tmp_path, IDENTITY) as journal:
        assert set(journal.blocks) == {0}
        journal.add(1, [row("cup")], seconds=0.1)
    with Journal(tmp_path, IDENTITY) as journal:
        assert set(journal.blocks) == {0, 1}


def test_another_run_in_the_folder_is_refused_by_what_differs(tmp_path: Path) -> None:
    with Journal(tmp_path, IDENTITY):
        pass

    with pytest.raises(MeasurementError, match="another run: not the same model, sampling"):
        Journal(tmp_path, IDENTITY | {"model": "m@2", "sampling": {}}).__enter__()


def test_two_processes_do_not_write_into_one_run(tmp_path: Path) -> None:
    with Journal(tmp_path, IDENTITY), pytest.raises(MeasurementError, match="another process"):
        Journal(tmp_path, IDENTITY).__enter__()
    with Journal(tmp_path, IDENTITY):
        pass


@pytest.mark.parametrize("name", ["run.json", "answers.jsonl"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    with Journal(tmp_path, IDENTITY):
        pass
    (tmp_path / name).write_text("{nonsense\n")

    with pytest.raises(MeasurementError, match=name):
        Journal(tmp_path, IDENTITY).__enter__()
