"""Gates: what holds, what can't be told, and what is no expression."""

import subprocess
import sys

import pytest

from benchmarks.replay.gates import FIGURE_NAMES, GateError, read_gate

VALUES = {"auc": 0.85, "p95_ms": 400.0, "ok": 10.0, "refused": 2.0, "error": 0.0, "ece": None}


@pytest.mark.parametrize(
    ("expression", "is_failed"),
    [
        ("auc < 0.9", True),
        ("auc < 0.8", False),
        ("0.8 < auc < 0.9", True),
        ("0.9 < auc < 1", False),
        ("auc < 0.9 and p95_ms > 500", False),
        ("auc < 0.9 or p95_ms > 500", True),
        ("not auc >= 0.9", True),
        ("refused / (ok + refused) > .1", True),
        ("refused - 2 * ok > -18", False),
        ("refused == 2", True),
        ("ok != 10", False),
    ],
)
def test_an_expression_holds_or_not(expression: str, is_failed: bool) -> None:
    assert read_gate(expression).judge(VALUES).is_failed is is_failed


@pytest.mark.parametrize(
    "expression", ["ece > 0.1", "ece < 0.1", "auc > 0.1 or ece > 0.1", "auc > .99 and ece > 0.1"]
)
def test_what_is_not_known_has_not_passed(expression: str) -> None:
    result = read_gate(expression).judge(VALUES)

    assert result.is_failed
    assert result.because == "ece is unknown"


def test_a_division_by_nothing_has_not_passed() -> None:
    assert read_gate("ok / error > 1").judge(VALUES).is_failed


def test_a_result_says_which_figures_made_it() -> None:
    assert read_gate("auc < 0.9").judge(VALUES).because == "auc is 0.85"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("acu < 0.9", "acu is no figure; did you mean auc"),
        ("__import__('os') == 1", "more than figures"),
        ("auc.real < 1", "more than figures"),
        ("auc < '0.9'", "is no number"),
        ("auc < True", "is no number"),
        ("auc ** 9 < 1", "operator"),
        ("auc in 1", "operator"),
        ("~ok < 1", "operator"),
        ("auc", "compares nothing"),
        ("auc + 1", "compares nothing"),
        ("auc < 0.9 and ok", "compares nothing"),
        ("auc <", "is no expression"),
        ("auc < 1; ok < 1", "is no expression"),
        ("(lambda: 1)() < 1", "more than figures"),
        ("[auc] < 1", "more than figures"),
        ("", "is no expression"),
        ("(" * 400 + "auc", "is no expression"),
        ("auc < 1 and " * 60, "longer than"),
    ],
)
def test_what_is_no_gate_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(GateError, match="--fail-if") as caught:
        read_gate(expression)
    assert reason in str(caught.value)


def test_an_unknown_name_ends_the_command_before_anything_is_sent() -> None:
    command = [sys.executable, "-m", "benchmarks", "replay", "--url", "http://127.0.0.1:9"]
    run = subprocess.run([*command, "--fail-if", "acu < 1"], capture_output=True, text=True)

    assert run.returncode == 1
    assert "acu is no figure" in run.stderr
    assert "Traceback" not in run.stderr


def test_names_are_told_apart() -> None:
    assert len(set(FIGURE_NAMES)) == len(FIGURE_NAMES)
