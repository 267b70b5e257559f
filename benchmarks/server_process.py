"""`sightward serve` as a process of its own, for benchmarks and end-to-end tests.

It is the command that users run, on a free port of the loopback interface, with its log in a file.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from server.errors import SightwardError

_HOST = "127.0.0.1"
_POLL_INTERVAL_S = 0.5
_LOG_TAIL_CHARS = 2000


class ServerProcessError(SightwardError):
    """The server ended or did not get ready; `log_tail` is what it last wrote."""

    def __init__(self, problem: str, log_tail: str) -> None:
        super().__init__(f"{problem}; its log ends:\n{log_tail}")
        self.problem = problem
        self.log_tail = log_tail


class ServerProcess:
    """Starts the server on entering, without waiting for its model; stops it on leaving.

    `log` is the file that its output goes to; `environ` is added to this process's environment.
    `module` is what is run: another takes the same command line.
    """

    def __init__(
        self,
        log: Path,
        *,
        model: str | None = None,
        environ: Mapping[str, str] | None = None,
        module: str = "server",
    ) -> None:
        self._log = log
        self._model = model
        self._module = module
        # What is measured is the model; whoever measures the cache says so.
        self._environ = {"SIGHTWARD_CACHE": "off", **os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where the server listens, without ``/v1``; valid once started."""
        return f"http://{_HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._started().pid

    @property
    def exit_status(self) -> int | None:
        """How the server ended; None while it runs."""
        return self._started().poll()

    def __enter__(self) -> Self:
        self._port = free_port()
        command = [sys.executable, "-m", self._module, "serve", "--host", _HOST]
        command += ["--port", str(self._port)]
        if self._model is not None:
            command += ["--model", self._model]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                command, stdout=log, stderr=subprocess.STDOUT, env=self._environ
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._started()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_until_ready(self, *, timeout_s: float) -> float:
        """Poll ``/readyz`` until it says 200; the seconds that took since the call.

        Raises `ServerProcessError` when the server ends or the time is up.
        """
        began_s = time.monotonic()
        with httpx2.Client(base_url=self.url, timeout=30.0) as client:
            while (waited_s := time.monotonic() - began_s) < timeout_s:
                if self._started().poll() is not None:
                    code = self._started().returncode
                    raise ServerProcessError(f"the server ended with {code}", self.log_tail())
                try:
                    if client.get("/readyz").status_code == httpx2.codes.OK:
                        return time.monotonic() - began_s
                except httpx2.TransportError:
                    pass  # not listening yet
                time.sleep(_POLL_INTERVAL_S)
        raise ServerProcessError(
            f"the server was not ready after {waited_s:.0f} s", self.log_tail()
        )

    def terminate(self, *, timeout_s: float) -> int:
        """Send SIGTERM and give the exit status; raises `subprocess.TimeoutExpired`."""
        self._started().send_signal(signal.SIGTERM)
        return self.wait(timeout_s=timeout_s)

    def wait(self, *, timeout_s: float) -> int:
        """Wait for its end and give the exit status; raises `subprocess.TimeoutExpired`."""
        return self._started().wait(timeout=timeout_s)

    def log_tail(self) -> str:
        """The end of what the server wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARS:]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server process was not started")
        return self._process


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
