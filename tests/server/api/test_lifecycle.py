import pytest

from server.api.lifecycle import EnginePhase, EngineState, Lifecycle, Phase
from server.errors import (
    DrainingError,
    EngineRestartingError,
    EngineStartingError,
    EngineUnavailableError,
)


def followed() -> tuple[EngineState, Lifecycle]:
    engine, lifecycle = EngineState(), Lifecycle()
    lifecycle.follow(engine)
    return engine, lifecycle


def test_a_new_one_is_starting_and_a_ready_one_takes_work() -> None:
    engine, lifecycle = followed()
    assert lifecycle.phase is Phase.STARTING
    with pytest.raises(EngineStartingError):
        lifecycle.require_open()
    engine.phase = Phase.READY
    lifecycle.require_open()
    assert lifecycle.refusal() is None


@pytest.mark.parametrize(
    ("phase", "refusal"),
    [
        (Phase.STARTING, EngineStartingError),
        (Phase.RESTARTING, EngineRestartingError),
        (Phase.FAILED, EngineUnavailableError),
    ],
)
def test_work_is_refused_with_the_reason(phase: EnginePhase, refusal: type[Exception]) -> None:
    engine, lifecycle = followed()
    engine.phase = phase
    assert type(lifecycle.refusal()) is refusal


def test_draining_is_not_taken_back_by_an_engine_that_is_ready() -> None:
    engine, lifecycle = followed()
    lifecycle.drain()
    engine.phase = Phase.READY
    assert lifecycle.phase is Phase.DRAINING
    assert type(lifecycle.refusal()) is DrainingError
