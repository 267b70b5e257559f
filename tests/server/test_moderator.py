import asyncio
import math
from collections.abc import Callable

import pytest
from PIL import Image

from server.concepts.probes import ProbeSet, load_probes
from server.concepts.recognition import Recognition
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import Outcome
from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.errors import (
    EngineUnavailableError,
    QuestionTooLongError,
    UnknownProbeError,
    UnusableAnswerError,
)
from server.ingest.text_pieces import MAX_PIECE_CHARS, cut_text
from server.moderator import MAX_PIECES_AT_ONCE, Moderator

TAXONOMY = load_taxonomy()
PROBES = load_probes()
IMAGE = Image.new("RGB", (8, 8), "white")
WITH_ROWS = ModelCard(id="rows", version="abcdef0123456789", has_recognition=True)
SEEN = Recognition({"Hate": 0.2, "Violence": 0.4}, 0.4, {"Gun violence": 0.9}, 0.1)

Answers = Answer | Callable[[Question], Answer]


def yes_no(yes: float, no: float, recognition: Recognition | None = None) -> Answer:
    return Answer({"yes": yes, "no": no}, recognition)


async def moderator_on(
    answers: Answers,
    *,
    has_rows: bool = True,
    probes: ProbeSet = PROBES,
    active: tuple[str, ...] | None = None,
    min_answer_mass: float = 0.05,
) -> tuple[Moderator, StubEngine]:
    card = WITH_ROWS if has_rows else ModelCard("letters", "0" * 12, has_recognition=False)
    engine = StubEngine(answers, card=card)
    await engine.start()
    return (
        Moderator(engine, probes, active=active, min_answer_mass=min_answer_mass),
        engine,
    )


async def test_a_model_with_rows_is_asked_one_question_about_an_image() -> None:
    moderator, engine = await moderator_on(yes_no(0.1, 0.7, SEEN))

    judgement = await moderator.judge_image(IMAGE)

    (question,) = engine.questions
    assert question.image is IMAGE
    assert question.text == PROBES.judgement("general_audience").question
    assert question.options == ("yes", "no")
    verdict = judgement.verdict
    assert verdict.outcome is Outcome.UNSAFE
    assert verdict.p_unsafe == pytest.approx(0.875)
    assert verdict.answer_mass == pytest.approx(0.8)
    assert verdict.categories == pytest.approx({"Hate": 0.4375, "Violence": 0.875})
    assert verdict.concepts == pytest.approx({"Gun violence": 0.875})
    assert verdict.recognition is SEEN
    assert judgement.engine_ms >= 0.0


async def test_several_probes_are_asked_and_averaged() -> None:
    unsafe_by_question = {
        PROBES.judgement("social_media").question: 0.9,
        PROBES.judgement("harm_free").question: 0.3,
    }

    def answer(question: Question) -> Answer:
        unsafe = unsafe_by_question[question.text]
        return yes_no(1.0 - unsafe, unsafe, SEEN)

    moderator, engine = await moderator_on(answer, active=("social_media", "harm_free"))

    judgement = await moderator.judge_image(IMAGE)

    assert len(engine.questions) == 2
    assert judgement.verdict.p_unsafe == pytest.approx(0.6)


async def test_a_probe_whose_unsafe_answer_is_yes_is_read_the_other_way_round() -> None:
    probe = PROBES.judgements[0].model_copy(update={"unsafe_answer": "yes"})
    probes = PROBES.model_copy(update={"judgements": (probe,), "active": (probe.id,)})
    moderator, _ = await moderator_on(yes_no(0.9, 0.1), probes=probes)

    assert (await moderator.judge_image(IMAGE)).verdict.p_unsafe == pytest.approx(0.9)


def unusable(_: Question) -> Answer:
    raise UnusableAnswerError("no probabilities")


@pytest.mark.parametrize(
    "answers",
    [yes_no(0.04, 0.0, SEEN), yes_no(math.nan, math.nan), Answer({}), unusable],
)
async def test_an_answer_that_says_neither_yes_nor_no_is_undetermined(answers: Answers) -> None:
    moderator, _ = await moderator_on(answers)

    verdict = (await moderator.judge_image(IMAGE)).verdict

    assert verdict.outcome is Outcome.UNDETERMINED
    assert verdict.p_unsafe is None


async def test_the_least_answer_mass_is_configurable() -> None:
    moderator, _ = await moderator_on(yes_no(0.04, 0.0), min_answer_mass=0.01)

    assert (await moderator.judge_image(IMAGE)).verdict.outcome is Outcome.SAFE


def by_letters(category_letter: str, concept_letter: str) -> Callable[[Question], Answer]:
    """Unsafe at 0.8; 0.6 on one category and 0.4 on "none"; all on one concept's letter."""

    def answer(question: Question) -> Answer:
        if question.options == ("yes", "no"):
            return yes_no(0.2, 0.8)
        is_about_categories = f". {TAXONOMY.category_names[0]}\n" in question.text
        if is_about_categories:
            return Answer({category_letter: 0.6, question.options[-1]: 0.4})
        return Answer({concept_letter: 1.0})

    return answer


async def test_a_model_without_rows_is_asked_for_the_category_then_the_concept() -> None:
    moderator, engine = await moderator_on(by_letters("C", "B"), has_rows=False)

    verdict = (await moderator.judge_image(IMAGE)).verdict

    assert len(engine.questions) == 3
    assert all(question.image is IMAGE for question in engine.questions)
    assert engine.questions[1].options == tuple("ABCDEFGHIJ")
    assert verdict.categories["Violence"] == pytest.approx(0.8)
    assert verdict.categories["Hate"] == 0.0
    assert verdict.concepts["Knife attacks"] == pytest.approx(0.8)
    assert verdict.concepts.keys() == set(TAXONOMY.concepts_of("Violence"))
    assert verdict.recognition is not None
    assert verdict.recognition.no_category == pytest.approx(0.4)


async def test_the_likeliest_category_carries_the_judgement_even_if_none_is_likelier() -> None:
    def answer(question: Question) -> Answer:
        if question.options == ("yes", "no"):
            return yes_no(0.2, 0.8)
        return Answer({"A": 0.1, question.options[-1]: 0.9})

    moderator, _ = await moderator_on(answer, has_rows=False)

    verdict = (await moderator.judge_image(IMAGE)).verdict

    assert verdict.categories["Hate"] == pytest.approx(0.8)
    assert verdict.concepts[TAXONOMY.concepts_of("Hate")[0]] == pytest.approx(0.8)


@pytest.mark.parametrize("mass", [0.0, 0.001, math.nan])
async def test_no_letter_in_the_answer_leaves_the_judgement_unclassified(mass: float) -> None:
    def answer(question: Question) -> Answer:
        if question.options == ("yes", "no"):
            return yes_no(0.2, 0.8)
        return Answer({"A": mass})

    moderator, engine = await moderator_on(answer, has_rows=False)

    verdict = (await moderator.judge_image(IMAGE)).verdict

    assert len(engine.questions) == 2
    assert verdict.outcome is Outcome.UNSAFE
    assert verdict.categories == {}
    assert verdict.unclassified == pytest.approx(0.8)


async def test_the_judgement_and_the_follow_up_wait_for_each_other_never() -> None:
    """Both first questions are in the engine before either is answered."""

    class Meeting(StubEngine):
        def __init__(self) -> None:
            super().__init__(card=ModelCard("letters", "0" * 12, has_recognition=False))
            self.both_asked = asyncio.Barrier(2)

        async def ask(self, question: Question) -> Answer:
            if len(self.questions) < 2:
                self.questions.append(question)
                await self.both_asked.wait()
            return Answer(dict.fromkeys(question.options, 1.0 / len(question.options)))

    engine = Meeting()
    await engine.start()

    await asyncio.wait_for(Moderator(engine, PROBES).judge_image(IMAGE), timeout=10)

    assert {len(question.options) for question in engine.questions} == {2, 10}


async def test_a_text_is_asked_about_as_if_an_image_showed_it() -> None:
    moderator, engine = await moderator_on(by_letters("A", "A"), has_rows=False)

    verdict = (await moderator.judge_text("a {text} with\nbraces")).verdict

    assert len(engine.questions) == 3
    assert all(question.image is None for question in engine.questions)
    assert all("a {text} with braces" in question.text for question in engine.questions)
    assert verdict.p_unsafe == pytest.approx(0.8)


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_a_text_without_words_is_undetermined_and_nothing_is_asked(text: str) -> None:
    moderator, engine = await moderator_on(yes_no(0.9, 0.1))

    judgement = await moderator.judge_text(text)

    assert judgement.verdict.outcome is Outcome.UNDETERMINED
    assert engine.questions == []


async def test_one_bad_sentence_speaks_for_a_long_text() -> None:
    def answer(question: Question) -> Answer:
        return yes_no(0.1, 0.9, SEEN) if "knife" in question.text else yes_no(0.9, 0.1, SEEN)

    moderator, engine = await moderator_on(answer)
    text = "flowers " * 200 + "knife " + "flowers " * 200

    verdict = (await moderator.judge_text(text)).verdict

    assert len(engine.questions) == len(cut_text(text)) > 2
    assert verdict.outcome is Outcome.UNSAFE
    assert verdict.p_unsafe == pytest.approx(0.9)


async def test_a_piece_that_can_not_be_read_keeps_a_long_text_from_being_safe() -> None:
    def answer(question: Question) -> Answer:
        return yes_no(0.0, 0.0) if "gibberish" in question.text else yes_no(0.9, 0.1)

    moderator, _ = await moderator_on(answer)

    verdict = (await moderator.judge_text("flowers " * 200 + "gibberish")).verdict

    assert verdict.outcome is Outcome.UNDETERMINED


async def test_a_piece_with_too_many_tokens_is_halved_until_it_fits() -> None:
    def answer(question: Question) -> Answer:
        if len(question.text) > 300:
            raise QuestionTooLongError(max_tokens=300)
        return yes_no(0.1, 0.9) if "雨雪" in question.text else yes_no(0.9, 0.1)

    moderator, _ = await moderator_on(answer)

    verdict = (await moderator.judge_text("花" * 400 + "雨雪" + "花" * 400)).verdict

    assert verdict.outcome is Outcome.UNSAFE


async def test_a_question_that_never_fits_is_an_error_not_a_verdict() -> None:
    def answer(question: Question) -> Answer:
        raise QuestionTooLongError(max_tokens=5)

    moderator, engine = await moderator_on(answer)

    with pytest.raises(QuestionTooLongError):
        await moderator.judge_text("flowers " * 200)
    with pytest.raises(QuestionTooLongError):
        await moderator.judge_image(IMAGE)
    assert len(engine.questions) < 100


async def test_a_long_text_leaves_room_for_others_in_the_engine() -> None:
    class Counting(StubEngine):
        asked_now = 0
        most_at_once = 0

        async def ask(self, question: Question) -> Answer:
            self.asked_now += 1
            self.most_at_once = max(self.most_at_once, self.asked_now)
            await asyncio.sleep(0)
            self.asked_now -= 1
            return await super().ask(question)

    engine = Counting(yes_no(0.9, 0.1), card=WITH_ROWS)
    await engine.start()

    await Moderator(engine, PROBES).judge_text("x" * MAX_PIECE_CHARS * 40)

    assert len(engine.questions) > 40
    assert engine.most_at_once == MAX_PIECES_AT_ONCE


@pytest.mark.parametrize("has_rows", [True, False])
async def test_a_dead_engine_is_an_error_of_its_own_class(has_rows: bool) -> None:
    moderator, engine = await moderator_on(yes_no(0.9, 0.1), has_rows=has_rows)
    engine.is_healthy = False

    with pytest.raises(EngineUnavailableError):
        await moderator.judge_image(IMAGE)
    with pytest.raises(EngineUnavailableError):
        await moderator.judge_text("flowers")


async def test_a_failure_cancels_the_questions_that_nobody_waits_for() -> None:
    cancelled: list[Question] = []
    follow_up_asked = asyncio.Event()

    class HalfDead(StubEngine):
        async def ask(self, question: Question) -> Answer:
            if question.options == ("yes", "no"):
                await follow_up_asked.wait()
                raise EngineUnavailableError("died")
            try:
                follow_up_asked.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(question)
                raise
            raise AssertionError("unreachable")

    engine = HalfDead()
    await engine.start()

    with pytest.raises(EngineUnavailableError):
        await asyncio.wait_for(Moderator(engine, PROBES).judge_image(IMAGE), timeout=10)
    assert len(cancelled) == 1


async def test_the_model_version_names_model_probes_and_taxonomy() -> None:
    moderator, _ = await moderator_on(yes_no(0.9, 0.1), active=("harm_free", "social_media"))

    assert moderator.model_version == (
        f"rows@abcdef012345+probes-{PROBES.version}.harm_free,social_media"
        f"+taxonomy-{TAXONOMY.version}"
    )


async def test_bad_settings_are_refused_at_once() -> None:
    engine = StubEngine()

    with pytest.raises(UnknownProbeError):
        Moderator(engine, PROBES, active=("nonsense",))
    with pytest.raises(ValueError, match="at least one probe"):
        Moderator(engine, PROBES, active=())
    with pytest.raises(ValueError, match="none twice"):
        Moderator(engine, PROBES, active=("harm_free", "harm_free"))
    with pytest.raises(ValueError, match="min_answer_mass"):
        Moderator(engine, PROBES, min_answer_mass=math.nan)
