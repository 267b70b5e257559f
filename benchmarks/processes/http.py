"""A process that listens on a free port of the loopback interface."""

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2

from benchmarks.processes.child import ChildProcess, ProcessError, python_module

HOST = "127.0.0.1"
READY_TIMEOUT_S = 600.0
_POLL_INTERVAL_S = 0.25


class HttpProcess(ChildProcess):
    """`command` listens on `port`; `health_path` answers 200 once it can be asked."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        port: int,
        health_path: str,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(command, log, environ=environ)
        self.url = f"http://{HOST}:{port}"
        self._health_path = health_path

    def wait_until_ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> float:
        """Poll until it can be asked; the seconds that took since the call.

        Raises `ProcessError` when it ends or the time is up.
        """
        began_s = time.monotonic()
        with httpx2.Client(base_url=self.url, timeout=30.0) as client:
            while (waited_s := time.monotonic() - began_s) < timeout_s:
                if self.exit_status is not None:
                    problem = f"the server ended with {self.exit_status}"
                    raise ProcessError(problem, self.log_tail())
                try:
                    if client.get(self._health_path).status_code == httpx2.codes.OK:
                        return time.monotonic() - began_s
                except httpx2.TransportError:
                    pass  # not listening yet
                time.sleep(_POLL_INTERVAL_S)
        raise ProcessError(f"the server was not ready after {waited_s:.0f} s", self.log_tail())


class ServerProcess(HttpProcess):
    """`sightward serve`, as users run it; `module` is another with the same command line."""

    def __init__(
        self,
        log: Path,
        *,
        model: str | None = None,
        environ: Mapping[str, str] | None = None,
        module: str = "server",
    ) -> None:
        port = free_port()
        command = python_module(module, "serve", "--host", HOST, "--port", str(port))
        if model is not None:
            command += ["--model", model]
        super().__init__(command, log, port=port, health_path="/readyz", environ=environ)
        # What is measured is the model; whoever measures the cache says so.
        self._environ.setdefault("SIGHTWARD_CACHE", "off")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
