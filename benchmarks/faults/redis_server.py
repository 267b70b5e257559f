"""A real Redis or Valkey of our own, which can be killed and started again."""

import shutil
import socket
import time
from pathlib import Path

from benchmarks.errors import MeasurementError
from benchmarks.processes.child import ChildProcess

_PROGRAMS = ("redis-server", "valkey-server")
_START_TIMEOUT_S = 10.0


def redis_program() -> str | None:
    """What can be started here; None where neither is installed."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


class RedisServer(ChildProcess):
    """Keeps nothing on disk; runs while the context is open, except between `kill` and `start`."""

    def __init__(self, program: str, port: int, folder: Path) -> None:
        super().__init__(
            [
                *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            ]
        )
        self._port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    def start(self) -> None:
        """Start it and wait until it listens; raises `MeasurementError`."""
        super().start()
        ends_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < ends_s and self.exit_status is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        raise MeasurementError("Redis does not start")
