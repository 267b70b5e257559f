"""The endpoint that does nothing, started as a process of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def no_op_endpoint() -> Iterator[str]:
    """Its address, while the context is open."""
    command = [sys.executable, "-m", "benchmarks.load.noop_service"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            port = process.stdout.readline().strip() if process.stdout is not None else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
