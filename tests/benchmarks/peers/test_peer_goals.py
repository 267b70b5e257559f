"""The goals' arithmetic, on rounds made by hand."""

import pytest

from benchmarks.peers.figures import Measured, Round, ratio, without_client
from benchmarks.peers.goals import peer_goals


def measured(images_per_s: float, *, client_cpu_ms: float = 0.0) -> Measured:
    return Measured(images_per_s, 50.0, 60.0, 70.0, client_cpu_ms)


def a_round(**changes: float) -> Round:
    speeds = {
        "raw": 26.0,
        "raw-at-once": 20.0,
        "raw-plain": 26.0,
        "stock": 20.0,
        "json": 4.0,
        "per-category": 8.0,
        "written": 1.0,
        "written-100": 0.5,
        "ours": 25.0,
        "ours-plain": 26.0,
    } | changes
    found = {name.replace("_", "-"): measured(speed) for name, speed in speeds.items()}
    return found | {"nothing": measured(1000.0, client_cpu_ms=2.0)}


def verdicts(*rounds: Round) -> dict[str, bool]:
    return {goal.name: goal.is_held for goal in peer_goals(rounds, cores=2)}


def test_the_clients_cost_is_taken_off_by_cores() -> None:
    # 40 ms a picture; 2 ms of one core are 1 ms of the clock of two: 39 ms are left.
    assert without_client(a_round(), "ours", "nothing", cores=2) == pytest.approx(1000 / 39)
    assert without_client(a_round(), "ours", "absent", cores=2) is None


def test_a_ratio_is_to_the_fastest_of_the_others() -> None:
    assert ratio(a_round(), "ours", "raw", "raw-at-once") == pytest.approx(25 / 26)
    assert ratio(a_round(), "ours", "raw-at-once") == pytest.approx(1.25)
    assert ratio(a_round(), "ours", "absent") is None


def test_every_goal_is_held_where_all_is_well() -> None:
    assert all(verdicts(a_round()).values())


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"ours": 23.0}, {"ours beside the faster raw LLM.generate, the client's cost taken off"}),
        ({"written": 2.0}, {"ours beside S1's way, own answers"}),
        ({"stock": 25.5}, {"ours beside vLLM's own server, one token"}),
        ({"json": 25.5}, {"ours beside a JSON verdict"}),
        (
            {"ours-plain": 33.0},
            {"categories and concepts, time beside the plain verdict, over HTTP"},
        ),
        ({"raw-plain": 34.0}, {"categories and concepts, time beside the plain verdict, raw"}),
    ],
)
def test_a_goal_is_missed_by_itself(changes: dict[str, float], missed: set[str]) -> None:
    found = verdicts(a_round(**changes))

    assert {name for name, is_held in found.items() if not is_held} == missed


def test_the_median_over_rounds_decides() -> None:
    slow, name = a_round(stock=30.0), "ours beside vLLM's own server, one token"

    assert verdicts(a_round(), slow, a_round())[name]
    assert not verdicts(slow, a_round(), slow)[name]


def test_a_goal_whose_peer_did_not_run_is_missed_and_unknown() -> None:
    without = {name: one for name, one in a_round().items() if name != "written"}
    goals = {goal.name: goal for goal in peer_goals([without], cores=2)}

    assert goals["ours beside S1's way, own answers"].got is None
    assert not goals["ours beside S1's way, own answers"].is_held
    assert goals["ours beside S1's way, 100 tokens"].is_held
