"""A child process that judges folders of pictures on request, in JSON lines over its own pipes.

The parent's end; `benchmarks.peers.transformers_child` and `detector_child` are the other one. A
request names a folder and how many pictures go into one call; an answer says how long it all and
each call took.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.contender import Ran, Turn
from server.errors import SightwardError

_LOG_TAIL_CHARS = 1500
_END_TIMEOUT_S = 30.0


class ChildError(SightwardError):
    """The child ended before it answered; its own output says why."""


class JudgingChild:
    """Runs `command`; implements `Host`. `log` is the file that its other output goes to."""

    def __init__(
        self, command: Sequence[str], log: Path, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self._command = list(command)
        self._log = log
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environ,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._started()
        if process.stdin is not None:
            process.stdin.close()  # the child leaves its loop
        try:
            process.wait(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def pid(self) -> int:
        """The child's process."""
        return self._started().pid

    def wait_until_ready(self) -> None:
        """Block until its model is loaded; raises `ChildError`."""
        self._answer()

    def judge(self, turn: Turn, **options: Any) -> Ran:
        """Judge the turn's folder; `options` are the child's own. Raises `ChildError`."""
        process = self._started()
        if process.stdin is None:
            raise RuntimeError("the child has no standard input")
        request = {"folder": str(turn.folder), "at_once": turn.at_once, **options}
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended_early() from error
        answer = self._answer()
        return Ran(answer["seconds"], tuple(answer["call_ms"]))

    def _answer(self) -> dict[str, Any]:
        process = self._started()
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise self._ended_early()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended_early(self) -> ChildError:
        log = self._log.read_text(encoding="utf-8", errors="replace")
        return ChildError(f"a peer ended early; its output ends:\n{log[-_LOG_TAIL_CHARS:]}")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the child process was not started")
        return self._process
