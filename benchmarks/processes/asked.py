"""A process that is asked over its own pipes: a JSON line in, a JSON line back.

`serve_lines` is the other end, for programs of ours.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from benchmarks.processes.child import ChildProcess, ProcessError


class AskedProcess(ChildProcess):
    """Its first line says that it is ready; closing its standard input tells it to end."""

    _said_ready: dict[str, Any] | None = None

    def wait_until_ready(self) -> dict[str, Any]:
        """Block until it says so, and give what it says; raises `ProcessError`."""
        if self._said_ready is None:
            self._said_ready = self._answer()
        return self._said_ready

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and give its answer; raises `ProcessError` if it ended."""
        requests = self._started().stdin
        assert requests is not None  # noqa: S101 - `_open` asks for it
        try:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
        except BrokenPipeError as error:
            raise self._ended_early() from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        answers = self._started().stdout
        line = answers.readline() if answers is not None else ""
        if not line:
            raise self._ended_early()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended_early(self) -> ProcessError:
        return ProcessError("a process ended before it answered", self.log_tail())

    def _open(self, log: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - no shell
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=self._environ,
        )

    def _ask_to_end(self, process: subprocess.Popen[str]) -> None:
        if process.stdin is not None:
            process.stdin.close()


def serve_lines(make: Callable[[], Callable[[dict[str, Any]], Mapping[str, Any]]]) -> None:
    """Make what answers, say that it is ready, then answer every line of standard input.

    Libraries print to standard output as they like: it becomes standard error, and the answers get
    a descriptor of their own.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answer = make()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
