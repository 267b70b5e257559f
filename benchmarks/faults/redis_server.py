"""A real Redis or Valkey of our own, which can be killed and started again."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.errors import MeasurementError

_PROGRAMS = ("redis-server", "valkey-server")
_START_TIMEOUT_S = 10.0


def redis_program() -> str | None:
    """What can be started here; None where neither is installed."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


class RedisServer:
    """Keeps nothing on disk; runs while the context is open, except between `kill` and `start`."""

    def __init__(self, program: str, port: int, folder: Path) -> None:
        self._command = [
            *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ]
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it listens; raises `MeasurementError`."""
        self._process = subprocess.Popen(  # noqa: S603 - found on PATH, fixed arguments
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ends_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < ends_s and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        raise MeasurementError("Redis does not start")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
