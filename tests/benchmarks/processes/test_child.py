"""Processes of benchmarks: started, waited for, asked, ended, told apart from ones that died."""

import signal
import sys
from pathlib import Path

import httpx2
import pytest

from benchmarks.load.no_op import NoOpEndpoint
from benchmarks.processes.asked import AskedProcess
from benchmarks.processes.child import ChildProcess, ProcessError, python_module
from benchmarks.processes.http import HOST, HttpProcess, free_port
from benchmarks.processes.judging import JudgingProcess

ECHO = """
from benchmarks.processes.asked import serve_lines

def make():
    print("loading")
    return lambda request: {"twice": request["number"] * 2}

serve_lines(make)
"""
JUDGE = """
from benchmarks.processes.judging import serve_folders

def judge(files, options):
    assert options == {"plain": True}
    print(b"+".join(files).decode(), flush=True)

serve_folders(lambda: judge)
"""


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_leaving_ends_it(tmp_path: Path) -> None:
    with ChildProcess(python("import time; print('here', flush=True); time.sleep(600)")) as process:
        assert process.exit_status is None
    assert process.exit_status == -signal.SIGTERM


def test_its_output_is_kept(tmp_path: Path) -> None:
    with ChildProcess(python("print('said')"), tmp_path / "log") as process:
        assert process.wait(timeout_s=30) == 0
    assert process.log_tail() == "said\n"


def test_it_can_be_killed_and_started_again() -> None:
    with ChildProcess(python("import time; time.sleep(600)")) as process:
        first = process.pid
        process.kill()
        assert process.exit_status == -signal.SIGKILL
        process.start()
        assert process.exit_status is None
        assert process.pid != first


def test_an_asked_process_answers_whatever_else_is_printed(tmp_path: Path) -> None:
    with AskedProcess(python(ECHO), tmp_path / "log") as process:
        assert process.wait_until_ready() == process.wait_until_ready() == {"ready": True}
        assert process.ask({"number": 4}) == {"twice": 8}
    assert process.exit_status == 0
    assert "loading" in process.log_tail()


def test_an_asked_process_that_dies_says_why(tmp_path: Path) -> None:
    command = python("raise SystemExit('no such model')")
    with (
        AskedProcess(command, tmp_path / "log") as process,
        pytest.raises(ProcessError, match="no such model"),
    ):
        process.wait_until_ready()


def test_a_folder_is_judged_in_calls(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in "cab":
        (pictures / name).write_text(name, encoding="utf-8")
    with JudgingProcess(python(JUDGE), tmp_path / "log") as process:
        process.wait_until_ready()
        run = process.judge(pictures, per_call=2, plain=True)
    assert len(run.call_ms) == 2
    assert run.seconds * 1000 >= sum(run.call_ms)
    assert process.log_tail() == "a+b\nc\n"


def test_a_server_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    command = python_module("http.server", str(port), "--bind", HOST)
    with HttpProcess(command, tmp_path / "log", port=port, health_path="/") as process:
        assert process.wait_until_ready(timeout_s=60) > 0


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    command = python("raise SystemExit('no port')")
    with (
        HttpProcess(command, tmp_path / "log", port=free_port(), health_path="/") as process,
        pytest.raises(ProcessError, match="no port"),
    ):
        process.wait_until_ready(timeout_s=60)


def test_the_no_op_endpoint_answers_and_goes() -> None:
    with NoOpEndpoint() as endpoint:
        assert httpx2.post(endpoint.url, content=b"anything").status_code == 503
    assert endpoint.exit_status == 0
