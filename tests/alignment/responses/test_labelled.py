import json
from pathlib import Path
from typing import Any

import pytest

from alignment.responses.__main__ import app
from alignment.responses.labelled import LabelledFileError, read_labelled

ANSWER = {"split": "dev", "style": "bare", "label": "unsafe", "unsafe_answer": "no",
          "question": "Is it suitable?", "text": "No."}  # fmt: skip
LETTER = {"split": "held", "style": "bare", "label": "B", "options": ["one", "two"],
          "question": "Which?", "text": "B"}  # fmt: skip


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "labelled.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "holds no answer"),
        ([ANSWER, {**ANSWER, "label": "harmless"}], ":2: .*label"),
        ([ANSWER, LETTER], ":2: mixes"),
    ],
)
def test_a_file_that_can_not_be_used_is_told_where(
    tmp_path: Path, lines: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(LabelledFileError, match=told):
        read_labelled(write(tmp_path, *lines))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabelledFileError, match="No such file"):
        read_labelled(tmp_path / "nothing.jsonl")


def test_the_command_prints_accuracy_and_confusion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {**ANSWER, "split": "held", "text": "Yes."}
    app([str(write(tmp_path, ANSWER, wrong)), "--wrong"], result_action="return_value")

    printed = capsys.readouterr().out
    assert "rules-1, dev: 1 of 1 right, accuracy 1.0000" in printed
    assert "rules-1, held: 0 of 1 right, accuracy 0.0000" in printed
    assert "rules-1, all: 1 of 2 right, accuracy 0.5000" in printed
    assert "held bare: unsafe, taken for safe: 'Yes.'" in printed


def test_the_command_measures_lettered_answers_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app([str(write(tmp_path, LETTER))], result_action="return_value")

    assert "rules-letters-1, all: 1 of 1 right" in capsys.readouterr().out
