"""``python -m benchmarks all``: the figures that the READMEs state for what ships, in one go.

Every step is one of the other commands in a process of its own, on the open set, with fewer rounds
than a figure worth publishing takes. Together they stay within a budget: a step that would not end
in time, by what it takes on two cores, is left out and said to be; one that overruns is ended.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from alignment.data.open_set import open_set_folder

_EXIT_FAILED = 1
_END_TIMEOUT_S = 60.0
_OPEN_SET = str(open_set_folder())

End = Literal["done", "failed", "ran too long", "left out"]


@dataclass(frozen=True, slots=True)
class Step:
    """One command line, without ``python -m benchmarks``; `expected_s` is on two cores."""

    name: str
    arguments: tuple[str, ...]
    expected_s: float
    shows: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step ended, and after how long."""

    step: Step
    end: End
    seconds: float


STEPS: tuple[Step, ...] = (
    Step("capabilities", ("capabilities",), 300, "what the model perceives, judges and ignores"),
    Step("install-peers", ("install-peers",), 40, "what some peers need"),
    Step(
        "peers", ("peers", "--rounds", "2"), 400, "the endpoint beside raw vLLM and all its peers"
    ),
    Step("cache", ("cache", "--rounds", "2", "--repeats", "2000"), 120, "a picture judged before"),
    Step("ppo-step", ("ppo-step", "--rounds", "2"), 110, "a step of alignment"),
    Step(
        "cascade",
        ("cascade", _OPEN_SET, "--model", "reference:safe", "--rounds", "1", "--images", "48"),
        120,
        "the safety head first",
    ),
)
"""In this order, so that what matters most is not what is left out."""

Runner = Callable[[Sequence[str], float], End]


def run_steps(
    steps: Sequence[Step],
    budget_s: float,
    *,
    runner: Runner,
    clock: Callable[[], float] = time.monotonic,
    on_start: Callable[[Step], None] = lambda _: None,
) -> list[Ended]:
    """Each step in turn as long as it fits; `runner` gets its arguments and the seconds left."""
    began_s, ended = clock(), list[Ended]()
    for step in steps:
        left_s = budget_s - (clock() - began_s)
        if step.expected_s > left_s:
            ended.append(Ended(step, "left out", 0.0))
            continue
        on_start(step)
        step_began_s = clock()
        end = runner(step.arguments, left_s)
        ended.append(Ended(step, end, clock() - step_began_s))
    return ended


def run_command(arguments: Sequence[str], timeout_s: float) -> End:
    """One of our commands in a process of its own, its output shown as it comes."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - our own module
        try:
            return "done" if process.wait(timeout=timeout_s) == 0 else "failed"
        except subprocess.TimeoutExpired:
            # Its own end takes the servers along that it has started.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_END_TIMEOUT_S)
            process.kill()
            return "ran too long"


def suite_table(ended: Sequence[Ended]) -> Table:
    """What ran, for how long, and how it ended."""
    table = Table(title="all benchmarks", title_justify="left")
    for column in ("command", "shows", "seconds", "end"):
        table.add_column(column)
    for one in ended:
        shown = f"{one.seconds:.0f}" if one.seconds else ""
        table.add_row(one.step.name, one.step.shows, shown, one.end)
    return table


def run_all(
    *,
    only: Annotated[list[str] | None, Parameter(help="These steps; default: all.")] = None,
    budget_min: Annotated[float, Parameter(help="Steps that would take longer are left out.")] = 19,
) -> None:
    """The figures for what ships, in under 20 minutes on two cores."""
    console = Console()
    steps = [step for step in STEPS if not only or step.name in only]
    ended = run_steps(
        steps,
        budget_min * 60,
        runner=run_command,
        on_start=lambda step: console.rule(f"{step.name}: {step.shows}"),
    )
    console.print(suite_table(ended))
    if any(one.end != "done" for one in ended):
        sys.exit(_EXIT_FAILED)
