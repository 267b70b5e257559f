"""A run's figures on a trackio dashboard, where someone asks for it and has it installed.

trackio (https://github.com/gradio-app/trackio) keeps runs on the local disk and shows them in a
browser. It is never needed: `metrics.jsonl` has the same figures and more. It stands in no pin file
either: version 0.43 asks for a Pillow older than the one that pictures are read with here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from server.errors import SightwardError


class TrackioMissingError(SightwardError):
    """A trackio project was named and trackio can't be imported; `reason` says why."""

    def __init__(self, project: str, reason: str) -> None:
        super().__init__(
            f"can't log to the trackio project {project!r}: {reason}. Install it into this "
            "environment (pip install --no-deps trackio, then what it misses), or leave it out"
        )
        self.project = project
        self.reason = reason


class TrackioLog:
    """One run of a project; a run of the same name goes on. Raises TrackioMissingError."""

    def __init__(self, project: str, *, name: str, config: Mapping[str, Any]) -> None:
        try:
            trackio: Any = import_module("trackio")
        except ImportError as error:
            raise TrackioMissingError(project, str(error)) from error
        self._run = trackio.init(
            project=project, name=name, config=dict(config), resume="allow", embed=False
        )

    def write(self, line: Mapping[str, Any]) -> None:
        """Log a step's numbers; those of a part (`seconds`) as ``seconds/part``."""
        self._run.log(_numbers(line), step=line["step"])

    def close(self) -> None:
        """Send what waits, and end the run."""
        self._run.finish()


def _numbers(line: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found[prefix + name] = float(value)
    return found
