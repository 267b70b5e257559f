"""trackio is optional: a stand-in with its documented interface takes its place."""

import sys
from types import ModuleType
from typing import Any

import pytest

from alignment.trackio_log import TrackioLog, TrackioMissingError


class StandInRun:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.is_finished = False

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        assert step is not None
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module whose `init` takes what trackio 0.43's takes."""
    module: Any = ModuleType("trackio")
    module.run = StandInRun()

    def init(
        project: str,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        resume: str = "never",
        embed: bool = True,
    ) -> StandInRun:
        module.asked = {"project": project, "name": name, "config": config, "resume": resume}
        run: StandInRun = module.run
        return run

    module.init = init
    monkeypatch.setitem(sys.modules, "trackio", module)
    return module


def test_numbers_alone_are_logged_at_their_step(trackio: Any) -> None:
    log = TrackioLog("project", name="seed-1", config={"lr": 1.0})
    log.write(
        {
            "step": 3,
            "reward": 0.5,
            "stopped_early": True,
            "right_rate": None,
            "seconds": {"learn": 2.0},
            "samples": [{"answer": "yes"}],
        }
    )
    log.close()

    assert trackio.run.logged == [(3, {"reward": 0.5, "stopped_early": 1.0, "seconds/learn": 2.0})]
    assert trackio.run.is_finished


def test_a_run_of_the_same_name_goes_on(trackio: Any) -> None:
    TrackioLog("project", name="seed-1", config={"lr": 1.0})

    assert trackio.asked == {
        "project": "project",
        "name": "seed-1",
        "config": {"lr": 1.0},
        "resume": "allow",
    }


def test_without_trackio_its_project_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(TrackioMissingError, match="pip install") as caught:
        TrackioLog("mine", name="run", config={})
    assert caught.value.project == "mine"
