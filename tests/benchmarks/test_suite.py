"""All benchmarks in one go: what fits the budget runs, and what does not is said to be left out."""

from collections.abc import Sequence

import pytest

from benchmarks.__main__ import app
from benchmarks.suite import STEPS, End, Step, run_steps, suite_table

MAKE_BENCH_S = 20 * 60


class Clock:
    """Goes on by what steps take."""

    def __init__(self, takes_s: dict[str, float]) -> None:
        self.now_s = 0.0
        self.ran: list[str] = []
        self._takes_s = takes_s

    def __call__(self) -> float:
        return self.now_s

    def run(self, arguments: Sequence[str], timeout_s: float) -> End:
        name = arguments[0]
        self.ran.append(name)
        self.now_s += min(self._takes_s[name], timeout_s)
        return "done" if self._takes_s[name] <= timeout_s else "ran too long"


def step(name: str, expected_s: float) -> Step:
    return Step(name, (name,), expected_s, name)


def test_what_does_not_fit_is_left_out_and_what_fits_still_runs() -> None:
    clock = Clock({"a": 50.0, "c": 30.0})
    steps = [step("a", 60), step("b", 70), step("c", 40)]

    ended = run_steps(steps, 100.0, runner=clock.run, clock=clock)

    assert clock.ran == ["a", "c"]
    assert [(one.end, one.seconds) for one in ended] == [
        ("done", 50.0),
        ("left out", 0.0),
        ("done", 30.0),
    ]
    assert list(suite_table(ended).columns[3].cells) == ["done", "left out", "done"]


def test_a_step_that_overruns_does_not_break_the_budget() -> None:
    clock = Clock({"a": 500.0})

    (ended,) = run_steps([step("a", 60)], 100.0, runner=clock.run, clock=clock)

    assert (ended.end, clock.now_s) == ("ran too long", 100.0)


def test_all_steps_together_are_expected_to_fit() -> None:
    assert sum(one.expected_s for one in STEPS) < MAKE_BENCH_S


@pytest.mark.parametrize("one", STEPS, ids=lambda one: one.name)
def test_each_step_is_a_command_that_there_is(one: Step) -> None:
    command, bound, _ = app.parse_args(list(one.arguments), exit_on_error=False, print_error=False)

    assert command.__name__ == one.name.replace("-", "_")
    assert bound is not None
