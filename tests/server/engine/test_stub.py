from dataclasses import replace

import pytest

from server.engine.protocol import Answer, Engine, Prompt, Question, Sampling, Written
from server.engine.stub import StubEngine
from server.errors import EngineStartError, EngineUnavailableError, QuestionTooLongError

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


async def test_a_batch_is_answered_in_order_and_recorded() -> None:
    stub = StubEngine(writes=lambda prompt: Written(prompt.text.upper(), 2, is_complete=True))
    await stub.start()

    answers = await stub.ask_all([QUESTION, QUESTION])
    written = await stub.write_all([Prompt("one"), Prompt("two")], Sampling())

    assert [type(answer) for answer in answers] == [Answer, Answer]
    assert [one.text for one in written if isinstance(one, Written)] == ["ONE", "TWO"]
    assert stub.questions == [QUESTION, QUESTION]
    assert [prompt.text for prompt in stub.prompts] == ["one", "two"]


async def test_an_error_in_a_batch_belongs_to_its_own_question() -> None:
    def refuse_the_second(question: Question) -> Answer:
        if question.text == "too long":
            raise QuestionTooLongError(max_tokens=8)
        return Answer({"yes": 1.0, "no": 0.0})

    stub = StubEngine(refuse_the_second)
    await stub.start()

    first, second = await stub.ask_all([QUESTION, replace(QUESTION, text="too long")])

    assert isinstance(first, Answer)
    assert isinstance(second, QuestionTooLongError)


async def test_a_stopped_stub_answers_no_batch() -> None:
    with pytest.raises(EngineUnavailableError):
        await StubEngine().ask_all([QUESTION])
    with pytest.raises(EngineUnavailableError):
        await StubEngine().write_all([Prompt("words")], Sampling())
