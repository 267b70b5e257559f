"""The command line: what goes wrong on purpose is one line."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alignment", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_folder_without_a_manifest_is_said_in_one_line(tmp_path: Path) -> None:
    ended = run("pretrain", str(tmp_path), "--run", str(tmp_path / "run"))
    assert ended.returncode == 1
    assert "manifest.jsonl" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_second_stage_needs_the_first(labelled_folder: Path, tmp_path: Path) -> None:
    ended = run("instruct", str(labelled_folder), "--start", str(tmp_path / "none"))
    assert ended.returncode == 1
    assert "holds no finished weights" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("method", ["ppo", "dpo"])
def test_alignment_needs_a_train_split(labelled_folder: Path, tmp_path: Path, method: str) -> None:
    manifest = labelled_folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"train"', '"test"'))
    ended = run(method, str(labelled_folder), "--run", str(tmp_path / "run"))
    assert ended.returncode == 1
    assert "no train split" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_recipe_is_said_in_one_line(labelled_folder: Path) -> None:
    ended = run("sft", str(labelled_folder), "--recipe", "qwen3-vl-9b", "--dry-run")
    assert ended.returncode == 1
    assert "did you mean qwen3-vl-8b" in ended.stderr
    assert "Traceback" not in ended.stderr
