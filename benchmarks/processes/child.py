"""A process that runs while a context is open, with what it writes in a file."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from server.errors import SightwardError

_LOG_TAIL_CHARS = 2000
_END_TIMEOUT_S = 60.0


class ProcessError(SightwardError):
    """A process ended early or did not get ready; `log_tail` is what it last wrote."""

    def __init__(self, problem: str, log_tail: str) -> None:
        super().__init__(f"{problem}; its log ends:\n{log_tail}")
        self.problem = problem
        self.log_tail = log_tail


class ChildProcess:
    """Runs `command` from entering to leaving, which sends SIGTERM and, in the end, SIGKILL.

    `environ` is added to this process's environment. `log` is the file that its output goes to;
    without one it is thrown away.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._command = list(command)
        self._log = log
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._ask_to_end(process)
            try:
                process.wait(timeout=_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        """The process; what it has started is below it."""
        return self._started().pid

    @property
    def exit_status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._started().poll()

    def start(self) -> None:
        """Start it, without waiting for more."""
        with Path(os.devnull if self._log is None else self._log).open("wb") as log:
            self._process = self._open(log)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        process = self._started()
        process.kill()
        process.wait()

    def terminate(self, *, timeout_s: float) -> int:
        """Send SIGTERM and give the exit status; raises `subprocess.TimeoutExpired`."""
        self._started().terminate()
        return self.wait(timeout_s=timeout_s)

    def wait(self, *, timeout_s: float) -> int:
        """Wait for its end and give the exit status; raises `subprocess.TimeoutExpired`."""
        return self._started().wait(timeout=timeout_s)

    def log_tail(self) -> str:
        """The end of what it wrote."""
        if self._log is None:
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARS:]

    def _open(self, log: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - no shell
            self._command, stdout=log, stderr=subprocess.STDOUT, text=True, env=self._environ
        )

    def _ask_to_end(self, process: subprocess.Popen[str]) -> None:
        process.terminate()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
