"""The processes behind the contenders: raw vLLM, vLLM's own server, ours, and a no-op endpoint.

vLLM's own server gets the engine settings that ours has, found by measurement for this machine, so
that what differs is what stands around the engine.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from benchmarks.peers.contender import Ran, Turn
from benchmarks.peers.installing import server_packages
from benchmarks.raw_vllm import RawVllm, is_cpu_build
from benchmarks.server_process import ServerProcess, ServerProcessError, free_port
from server.engine.cpu_runtime import engine_environment
from server.engine.model_source import find_model
from server.engine.vllm_loading import LoadOptions, engine_arguments

READY_TIMEOUT_S = 600.0
_POLL_INTERVAL_S = 0.25
_LOG_TAIL_CHARS = 2000
_END_TIMEOUT_S = 60.0


class RawHost:
    """`LLM.generate` in a process of its own; implements `Host`."""

    def __init__(self, checkpoint: Path, log: Path) -> None:
        self._raw = RawVllm(checkpoint, log)

    def __enter__(self) -> Self:
        self._raw.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._raw.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        """The engine's process."""
        return self._raw.pid

    def wait_until_ready(self) -> None:
        """Block until the model is loaded; raises `RawVllmError`."""
        self._raw.wait_until_ready()

    def judge(self, turn: Turn, *, per_call: int | None = None, plain: bool = False) -> Ran:
        """Judge the turn's folder, `at_once` pictures a call unless told otherwise."""
        run = self._raw.run(turn.folder, per_call=per_call or turn.at_once, plain=plain)
        return Ran(run.seconds, run.call_ms)


class OurHost:
    """`sightward serve`, or another module with its command line; implements `Host`."""

    def __init__(
        self,
        log: Path,
        *,
        model: str,
        environ: Mapping[str, str] | None = None,
        module: str = "server",
    ) -> None:
        self._server = ServerProcess(log, model=model, environ=environ, module=module)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        """The process that answers; its engine's is below it."""
        return self._server.pid

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def wait_until_ready(self) -> None:
        """Block until `/readyz` says so; raises `ServerProcessError`."""
        self._server.wait_until_ready(timeout_s=READY_TIMEOUT_S)


class StockHost:
    """vLLM's own OpenAI-compatible server on the same checkpoint; implements `Host`."""

    def __init__(self, checkpoint: Path, log: Path, *, peers: Path) -> None:
        self._checkpoint = checkpoint
        self._log = log
        self._peers = peers
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        packages = server_packages(self._peers)
        self._port = free_port()
        on_cpu = is_cpu_build()
        settings = engine_environment(os.environ, on_cpu=on_cpu, is_local_model=True)
        if packages is not None:
            before = os.environ.get("PYTHONPATH")
            settings["PYTHONPATH"] = f"{packages}:{before}" if before else str(packages)
        arguments = engine_arguments(find_model(self._checkpoint), LoadOptions(), on_cpu=on_cpu)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - vLLM's module, no shell
                [
                    *python_module("vllm.entrypoints.openai.api_server"),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                    *flags(arguments),
                    # What it logs a request would be its cost and not ours.
                    "--disable-uvicorn-access-log",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings},
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._started()
        process.terminate()
        try:
            process.wait(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """The process that answers; its engine's is below it."""
        return self._started().pid

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def wait_until_ready(self) -> None:
        """Block until `/health` answers; raises `ServerProcessError`."""
        began_s = time.monotonic()
        with httpx2.Client(base_url=self.url, timeout=30.0) as client:
            while time.monotonic() - began_s < READY_TIMEOUT_S:
                if self._started().poll() is not None:
                    raise ServerProcessError("vLLM's own server ended", self._tail())
                try:
                    if client.get("/health").status_code == httpx2.codes.OK:
                        return
                except httpx2.TransportError:
                    pass  # not listening yet
                time.sleep(_POLL_INTERVAL_S)
        raise ServerProcessError("vLLM's own server was not ready in time", self._tail())

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARS:]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server process was not started")
        return self._process


class NothingHost:
    """An endpoint that answers without reading: what the client itself costs; implements `Host`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._port = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            python_module("benchmarks.load.noop_service"), stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    @property
    def pid(self) -> int:
        """Its process."""
        return 0 if self._process is None else self._process.pid

    @property
    def url(self) -> str:
        """Where it listens; valid once ready."""
        return f"http://127.0.0.1:{self._port}"

    def wait_until_ready(self) -> None:
        """Block until it says its port."""
        if self._process is not None and self._process.stdout is not None:
            self._port = self._process.stdout.readline().strip()


def flags(arguments: Mapping[str, object]) -> list[str]:
    """vLLM's keyword arguments as options of its command line; None is left out."""
    found = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        else:
            shown = json.dumps(value) if isinstance(value, dict) else str(value)
            found.append(f"--{option}={shown}")
    return found


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
