"""What a run folder is a run of: a killed run is only gone on with by the same recipe and data."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.errors import SightwardError

IDENTITY_NAME = "run.json"
METRICS_NAME = "metrics.jsonl"


class OtherRunError(SightwardError):
    """The folder holds a run of something else; `differing` names what."""

    def __init__(self, run: Path, differing: tuple[str, ...]) -> None:
        super().__init__(
            f"{run} holds another run ({', '.join(differing)} differ); name another folder"
        )
        self.run = run
        self.differing = differing


def claim_run(run: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder this run's, or find that it is.

    A nested mapping's entries are named one by one where they differ. Raises OtherRunError.
    """
    path = run / IDENTITY_NAME
    written = json.dumps(identity, indent=1)
    if path.is_file():
        differing = _differing(json.loads(path.read_text(encoding="utf-8")), json.loads(written))
        if differing:
            raise OtherRunError(run, differing)
        return
    run.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(written + "\n", encoding="utf-8")
    partial.replace(path)


def _differing(found: Any, expected: Mapping[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for name, value in expected.items():
        other = found.get(name) if isinstance(found, Mapping) else None
        if value == other:
            continue
        names += _differing(other, value) if isinstance(value, Mapping) else [name]
    return tuple(names)
