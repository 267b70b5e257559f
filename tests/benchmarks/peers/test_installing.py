"""Peers in an environment of their own: the detectors' end of the pipe, and what is missing."""

import io
import json
from pathlib import Path

import pytest

from benchmarks.peers.contender import NotInstalledError
from benchmarks.peers.detector_child import serve
from benchmarks.peers.installing import detector_python, server_packages


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
