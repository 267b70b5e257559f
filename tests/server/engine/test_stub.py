import pytest

from server.engine.protocol import Answer, Engine, Question
from server.engine.stub import StubEngine
from server.errors import EngineStartError, EngineUnavailableError

QUESTION = Question(text="Is this fine?", options=("yes", "no"))


def as_engine(stub: StubEngine) -> Engine:
    return stub


async def test_fixed_answer_is_given_to_every_question() -> None:
    fixed = Answer(option_mass={"yes": 0.9, "no": 0.1})
    engine = as_engine(StubEngine(fixed))
    await engine.start()
    assert await engine.ask(QUESTION) is fixed


async def test_callable_sees_the_question_and_questions_are_recorded() -> None:
    stub = StubEngine(lambda question: Answer(option_mass={question.options[0]: 1.0}))
    await stub.start()
    answer = await stub.ask(QUESTION)
    assert answer.option_mass == {"yes": 1.0}
    assert stub.questions == [QUESTION]


async def test_default_answer_has_no_opinion() -> None:
    stub = StubEngine()
    await stub.start()
    assert (await stub.ask(QUESTION)).option_mass == {"yes": 0.5, "no": 0.5}


async def test_refuses_before_start_after_stop_and_when_unhealthy() -> None:
    stub = StubEngine()
    assert not await stub.ready()
    with pytest.raises(EngineUnavailableError):
        await stub.ask(QUESTION)
    await stub.start()
    assert await stub.ready()
    stub.is_healthy = False
    assert not await stub.ready()
    with pytest.raises(EngineUnavailableError):
        await stub.ask(QUESTION)
    stub.is_healthy = True
    await stub.stop()
    await stub.stop()
    with pytest.raises(EngineUnavailableError):
        await stub.ask(QUESTION)


async def test_start_error_is_raised_with_its_reason() -> None:
    with pytest.raises(EngineStartError) as raised:
        await StubEngine(start_error="no weights").start()
    assert raised.value.reason == "no weights"
