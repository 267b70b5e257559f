"""Processes that judge a folder of pictures at a time and say how long that took.

`JudgingProcess` is the parent's end, `serve_folders` the other one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes.asked import AskedProcess, serve_lines

Judge = Callable[[Sequence[bytes], dict[str, Any]], None]
"""Decodes and judges the files of one call; the options are those of `JudgingProcess.judge`."""


@dataclass(frozen=True, slots=True)
class FolderRun:
    """The wall clock of all of it, and of each call."""

    seconds: float
    call_ms: tuple[float, ...]


class JudgingProcess(AskedProcess):
    """Asked to judge folders."""

    def judge(self, folder: Path, *, per_call: int = 1, **options: Any) -> FolderRun:
        """Judge every file in `folder`, `per_call` at once; raises `ProcessError`."""
        answer = self.ask({"folder": str(folder), "per_call": per_call, "options": options})
        return FolderRun(answer["seconds"], tuple(answer["call_ms"]))


def serve_folders(make: Callable[[], Judge]) -> None:
    """Load what judges, then judge a folder a request until standard input is closed.

    Files are read before the clock starts.
    """

    def loaded() -> Callable[[dict[str, Any]], dict[str, Any]]:
        judge = make()
        return lambda request: _judged(judge, request)

    serve_lines(loaded)


def _judged(judge: Judge, request: dict[str, Any]) -> dict[str, Any]:
    files = [path.read_bytes() for path in sorted(Path(request["folder"]).iterdir())]
    per_call = request["per_call"]
    call_ms: list[float] = []
    began_s = time.perf_counter()
    for first in range(0, len(files), per_call):
        call_began_s = time.perf_counter()
        judge(files[first : first + per_call], request["options"])
        call_ms.append((time.perf_counter() - call_began_s) * 1000)
    return {"seconds": time.perf_counter() - began_s, "call_ms": call_ms}
