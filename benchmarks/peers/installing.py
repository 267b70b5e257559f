"""What peers need that the product does not: `python -m benchmarks install-peers` gets it.

The small detectors get a virtual environment of their own, and vLLM's own server a folder that its
process alone is told of: nothing that is pinned is touched.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import MeasurementError
from benchmarks.peers.contender import NotInstalledError

FOLDER = Path(".venv-peers")
COMMAND = "python -m benchmarks install-peers"
_HERE = Path(__file__).parent
_SERVER_FOLDER = "vllm-server"
_SERVER_PACKAGES = ("prometheus_fastapi_instrumentator", "model_hosting_container_standards")


def install_peers(folder: Path = FOLDER) -> None:
    """Install what `peers` needs beside the product, into a folder of its own."""
    quietly = ["install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    server = ["--target", str(folder / _SERVER_FOLDER), "--upgrade"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*_pip(_python(folder)), *quietly, "--requirement", str(_HERE / "detectors.txt")],
        [*_pip(sys.executable), *quietly, *server, "-r", str(_HERE / "vllm_server.txt")],
    ):
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - fixed arguments
            raise MeasurementError(f"can't install the peers: {' '.join(command)} failed")


def detector_python(folder: Path) -> str:
    """The interpreter of the detectors' environment; raises `NotInstalledError`."""
    python = _python(folder)
    if not Path(python).is_file():
        raise NotInstalledError("the detectors' environment", COMMAND)
    return python


def server_packages(folder: Path) -> Path | None:
    """Where vLLM's own server finds what it lacks; None where it lacks nothing.

    Raises `NotInstalledError`.
    """
    if all(importlib.util.find_spec(name) is not None for name in _SERVER_PACKAGES):
        return None
    if not (folder / _SERVER_FOLDER).is_dir():
        raise NotInstalledError("what vLLM's own server needs", COMMAND)
    return (folder / _SERVER_FOLDER).resolve()


def _python(folder: Path) -> str:
    return str(folder / "bin" / "python")


def _pip(python: str) -> list[str]:
    return [python, "-m", "pip"]
