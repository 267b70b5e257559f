"""A peer in a process of its own: asked, answered, and told apart from one that died."""

import io
import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers.child import ChildError, JudgingChild
from benchmarks.peers.contender import NotInstalledError, Turn
from benchmarks.peers.detector_child import serve
from benchmarks.peers.installing import detector_python, server_packages

ECHO = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"seconds": 2.0, "call_ms": [asked["at_once"], asked["more"]]}), flush=True)
"""


def test_a_child_is_asked_and_answers(tmp_path: Path) -> None:
    with JudgingChild([sys.executable, "-c", ECHO], tmp_path / "log") as child:
        child.wait_until_ready()
        ran = child.judge(Turn((), tmp_path, 7), more=5)

    assert (ran.seconds, ran.latencies_ms) == (2.0, (7, 5))


def test_a_child_that_dies_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        JudgingChild(command, tmp_path / "log") as child,
        pytest.raises(ChildError, match="no such model"),
    ):
        child.wait_until_ready()


def test_a_detector_judges_one_picture_after_another(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(name.encode())
    seen: list[bytes] = []
    answers = io.StringIO()

    serve(seen.append, io.StringIO(json.dumps({"folder": str(tmp_path)}) + "\n"), answers)

    ready, answer = map(json.loads, answers.getvalue().splitlines())
    assert seen == [b"a", b"b"]
    assert ready == {"ready": True}
    assert len(answer["call_ms"]) == 2


def test_without_their_environment_detectors_are_not_installed(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match="install-peers"):
        detector_python(tmp_path)


def test_vllms_server_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.installing._SERVER_PACKAGES", ("no_such_package",))
    with pytest.raises(NotInstalledError, match="install-peers"):
        server_packages(tmp_path)
    (tmp_path / "vllm-server").mkdir()
    assert server_packages(tmp_path) == tmp_path / "vllm-server"
    monkeypatch.setattr("benchmarks.peers.installing._SERVER_PACKAGES", ("json",))
    assert server_packages(tmp_path) is None
