from collections.abc import Callable

import pytest

from server.concepts.probes import load_probes
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine
from server.errors import EngineStartError
from server.moderator import Moderator
from server.startup_check import (
    StartupCheck,
    check_judged_right,
    check_readable,
    safe_picture,
    unsafe_picture,
)


def answering(yes: float, no: float) -> Callable[[Question], Answer]:
    return lambda question: Answer(option_mass={"yes": yes, "no": no})


def right(question: Question) -> Answer:
    """The shipped question says "unsafe" by "no"."""
    is_safe = question.image is not None and question.image.tobytes() == safe_picture().tobytes()
    return Answer(option_mass={"yes": 0.9, "no": 0.1} if is_safe else {"yes": 0.1, "no": 0.9})


async def moderator_of(answers: Callable[[Question], Answer]) -> Moderator:
    engine = StubEngine(answers)
    await engine.start()
    return Moderator(engine, load_probes())


@pytest.mark.parametrize("check", [check_judged_right, check_readable])
async def test_a_model_that_judges_both_pictures_right_passes(check: StartupCheck) -> None:
    await check(await moderator_of(right))


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (answering(0.9, 0.1), "unsafe safe"),
        (answering(0.1, 0.9), "safe unsafe"),
        (answering(0.01, 0.01), "safe undetermined"),
    ],
    ids=["all safe", "all unsafe", "no answer"],
)
async def test_a_model_that_does_not_tell_them_apart_is_refused(
    answers: Callable[[Question], Answer], problem: str
) -> None:
    with pytest.raises(EngineStartError, match=f"drawn picture that is {problem}"):
        await check_judged_right(await moderator_of(answers))


async def test_of_an_unknown_model_only_a_readable_answer_is_asked() -> None:
    await check_readable(await moderator_of(answering(0.9, 0.1)))
    with pytest.raises(EngineStartError, match=r"gives yes and no 0\.020 of all probability"):
        await check_readable(await moderator_of(answering(0.01, 0.01)))


def test_the_pictures_are_the_same_every_time() -> None:
    assert safe_picture().tobytes() == safe_picture().tobytes()
    assert unsafe_picture().getpixel((60, 90)) == (25, 25, 28)
