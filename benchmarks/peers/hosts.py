"""The processes behind the contenders that are not ours alone.

vLLM's own server gets the engine settings that ours has, found by measurement for this machine, so
that what differs is what stands around the engine.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.installing import server_packages
from benchmarks.processes.child import python_module
from benchmarks.processes.http import HOST, HttpProcess, free_port
from benchmarks.raw_vllm import is_cpu_build
from server.engine.cpu_runtime import engine_environment
from server.engine.model_source import find_model
from server.engine.vllm_loading import LoadOptions, engine_arguments


class StockServer(HttpProcess):
    """vLLM's own OpenAI-compatible server on the same checkpoint.

    Raises `NotInstalledError` where packages are missing that vLLM's server alone imports.
    """

    def __init__(self, checkpoint: Path, log: Path, *, peers: Path) -> None:
        on_cpu = is_cpu_build()
        settings = engine_environment(os.environ, on_cpu=on_cpu, is_local_model=True)
        if (packages := server_packages(peers)) is not None:
            before = os.environ.get("PYTHONPATH")
            settings["PYTHONPATH"] = f"{packages}:{before}" if before else str(packages)
        arguments = engine_arguments(find_model(checkpoint), LoadOptions(), on_cpu=on_cpu)
        port = free_port()
        command = [
            *python_module("vllm.entrypoints.openai.api_server"),
            *("--host", HOST, "--port", str(port)),
            *flags(arguments),
            # What it logs a request would be its cost and not ours.
            "--disable-uvicorn-access-log",
        ]
        super().__init__(command, log, port=port, health_path="/health", environ=settings)


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
