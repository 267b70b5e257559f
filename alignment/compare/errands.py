"""The two errands of a comparison, each a command in a process of its own: train, and measure.

Both commands can be typed by hand; ``--dry-run`` prints them.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from alignment.compare.plan import OPEN_SET, ComparisonConfig, Contestant
from server.errors import SightwardError

_LAST_LINES = 3


class ErrandError(SightwardError):
    """A command failed; `log` has all that it said."""

    def __init__(self, command: Sequence[str], log: Path, last_words: str) -> None:
        what = " ".join(command[2:4])
        super().__init__(
            f"`python -m {what}` failed: {last_words or 'it said nothing'} (see {log})"
        )
        self.command = tuple(command)
        self.log = log


class Errands(Protocol):
    """Runs a command to its end."""

    def run(self, command: Sequence[str], *, log: Path) -> None:
        """Run it; what it says goes to the end of `log`. Raises ErrandError."""
        ...


class Processes:
    """Real processes, one at a time; one that is cut short ends with this process."""

    def run(self, command: Sequence[str], *, log: Path) -> None:
        """Run the command; raises ErrandError when it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as said:
            done = subprocess.run(  # noqa: S603 - our own commands, no shell
                list(command), stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
            )
        if done.returncode:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            spoken = [line.strip() for line in lines if line.strip()]
            raise ErrandError(command, log, " / ".join(spoken[-_LAST_LINES:]))


def training_command(config: ComparisonConfig, contestant: Contestant, model: str) -> list[str]:
    """Train and merge one contestant from the checkpoint `model`."""
    command = [sys.executable, "-m", "alignment.compare", str(contestant.method)]
    command += ["--seed", str(contestant.seed), "--data", str(config.data)]
    command += ["--recipe", config.recipe, "--model", model]
    command += ["--run", str(contestant.run), "--merged", str(contestant.merged)]
    command += ["--view-seed", str(config.view_seed)]
    if config.steps is not None:
        command += ["--steps", str(config.steps)]
    return command


def inside_command(config: ComparisonConfig, checkpoint: str, out: Path) -> list[str]:
    """Measure a checkpoint on the comparison's own data."""
    measure = config.measure
    command = _measuring(config, checkpoint, str(config.data), out)
    command += ["--split", measure.split, "--suite", "alignment,text,general"]
    command += ["--mode", "token,written", "--written-limit", str(measure.written)]
    return [*command, "--max-tokens", str(measure.max_tokens)]


def outside_command(config: ComparisonConfig, checkpoint: str, out: Path) -> list[str]:
    """Measure a checkpoint on the other domain, in one token."""
    data = config.measure.outside or OPEN_SET
    command = _measuring(config, checkpoint, data, out)
    return [*command, "--suite", "alignment", "--mode", "token"]


def risk_command(config: ComparisonConfig, checkpoint: str, file: Path) -> list[str]:
    """Measure what a checkpoint's safety modules say of level and type."""
    command = [sys.executable, "-m", "alignment", "safety", "evaluate", str(config.data)]
    return [*command, checkpoint, "--split", config.measure.split, "--json", str(file)]


def as_typed(command: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(["python", *command[1:]])


def _measuring(config: ComparisonConfig, checkpoint: str, data: str, out: Path) -> list[str]:
    measure = config.measure
    command = [sys.executable, "-m", "benchmarks", "capabilities"]
    command += ["--model", checkpoint, "--data", data, "--questions", "default"]
    command += ["--seed", str(measure.seed), "--resamples", str(measure.resamples)]
    command += ["--out", str(out)]
    if measure.engine is not None:
        command += ["--engine", measure.engine]
    return command
