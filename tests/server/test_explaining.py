"""How an explanation is asked for and cut, and that nothing about it ever raises."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry, generate_latest

from server.concepts.verdict import UNREAD, JudgedBy, Outcome, Verdict
from server.engine.conversation import Chat, Piece
from server.engine.protocol import Sampling, Written
from server.engine.stub import StubEngine
from server.errors import EngineUnavailableError, QuestionTooLongError
from server.explaining import Explainer, Explanation, explanation_chat, whole_sentences
from server.telemetry.explanation_metrics import ExplanationMetrics

PICTURE = Image.new("RGB", (8, 8))
UNSAFE = Verdict(Outcome.UNSAFE, 0.9, 1.0, categories={"Hate": 0.2, "Violence": 0.8})
SAFE = Verdict(Outcome.SAFE, 0.1, 1.0, categories={"Violence": 0.1})


class Explaining:
    """An explainer with its metrics in sight."""

    def __init__(self, *, max_tokens: int = 60, timeout_s: float = 60.0, at_once: int = 2) -> None:
        self.registry = CollectorRegistry()
        self.explainer = Explainer(
            ExplanationMetrics(self.registry),
            max_tokens=max_tokens,
            timeout_s=timeout_s,
            at_once=at_once,
        )

    @property
    def scrape(self) -> str:
        return generate_latest(self.registry).decode()


async def started(words: Sequence[str]) -> StubEngine:
    engine = StubEngine(chats=lambda chat: words)
    await engine.start()
    return engine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A gun.", "A gun."),
        ("A gun. It is loaded. And more.", "A gun. It is loaded."),
        ("A gun. It is loa", "A gun."),
        ("A gun of 7.62 mm. It", "A gun of 7.62 mm."),
        ('He says "no!" A man', 'He says "no!"'),
        ("no end at all", "no end at all"),
        ("  two\n lines.\n\nMore", "two lines."),
        ("", ""),
    ],
)
def test_a_text_is_cut_to_two_whole_sentences(text: str, expected: str) -> None:
    assert whole_sentences(text, is_complete=True) == (expected, False)
    assert whole_sentences(text, is_complete=False) == (expected, True)


def test_the_likeliest_category_of_what_is_unsafe_is_in_the_question() -> None:
    (turn,) = explanation_chat(PICTURE, UNSAFE).turns
    picture, words = turn.parts
    assert picture is PICTURE
    assert "Violence" in str(words)
    assert "Hate" not in str(words)
    (turn,) = explanation_chat(PICTURE, SAFE).turns
    assert "Violence" not in str(turn.parts[1])


@pytest.mark.parametrize("text", ["plain words", "{category} and {text} {0}", "x" * 9000])
def test_a_text_is_asked_about_as_it_is_and_not_at_any_length(text: str) -> None:
    (turn,) = explanation_chat(text, UNSAFE).turns
    (words,) = turn.parts
    assert str(words).endswith(text[:2000])
    assert len(str(words)) < 2200


async def test_an_explanation_is_bounded_repeatable_and_counted() -> None:
    explaining = Explaining(max_tokens=5)
    engine = await started(["A ", "man ", "holds. ", "A ", "gun ", "there."])
    written = await explaining.explainer.explain(PICTURE, UNSAFE, engine)
    assert written == Explanation("A man holds.", tokens=5, is_truncated=True)
    ((_, sampling),) = engine.conversations
    assert (sampling.max_tokens, sampling.temperature) == (5, 0.0)
    assert 'sightward_explanations_total{outcome="written"} 1.0' in explaining.scrape
    assert "sightward_explanation_tokens_total 5.0" in explaining.scrape
    assert "sightward_explanation_seconds_count 1.0" in explaining.scrape


@pytest.mark.parametrize(
    ("verdict", "words", "reason"),
    [
        (UNREAD, ["A ", "man ", "here."], "not_judged"),
        (UNSAFE, ["No"], "unusable"),
        (UNSAFE, [], "unusable"),
    ],
)
async def test_there_is_none_where_nothing_can_be_said(
    verdict: Verdict, words: list[str], reason: str
) -> None:
    explaining = Explaining()
    engine = await started(words)
    assert await explaining.explainer.explain(PICTURE, verdict, engine) == reason
    assert f'sightward_explanations_total{{outcome="{reason}"}} 1.0' in explaining.scrape


async def test_what_the_safety_head_judged_alone_is_not_explained_by_the_model() -> None:
    judged_by: frozenset[JudgedBy] = frozenset({"safety_head"})
    verdict = Verdict(Outcome.SAFE, 0.01, 1.0, judged_by=judged_by)
    engine = await started(["A ", "man ", "here."])
    assert await Explaining().explainer.explain(PICTURE, verdict, engine) == "safety_head"
    assert engine.conversations == []


async def test_without_a_writer_there_is_none() -> None:
    assert await Explaining().explainer.explain(PICTURE, UNSAFE, None) == "unsupported"


@pytest.mark.parametrize("error", [EngineUnavailableError("dead"), QuestionTooLongError(9)])
async def test_an_engine_that_fails_costs_the_explanation_alone(error: Exception) -> None:
    def fail(chat: Chat) -> Sequence[str]:
        raise error

    engine = StubEngine(chats=fail)
    await engine.start()
    assert await Explaining().explainer.explain(PICTURE, UNSAFE, engine) == "failed"


class Endless:
    """A writer that never ends; `given_up` counts the answers that were taken out of it."""

    def __init__(self) -> None:
        self.given_up = 0

    async def write(self, chat: Chat, sampling: Sampling) -> Written:
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1
        raise AssertionError

    def stream(self, chat: Chat, sampling: Sampling) -> AsyncGenerator[Piece]:
        raise NotImplementedError


@pytest.mark.parametrize("by_caller", [True, False], ids=["the call's deadline", "its own"])
async def test_one_that_takes_too_long_is_given_up(by_caller: bool) -> None:
    explaining = Explaining(timeout_s=60.0 if by_caller else 0.001, at_once=1)
    writer = Endless()
    answer_by_s = asyncio.get_running_loop().time() if by_caller else None
    found = await asyncio.gather(
        *(
            explaining.explainer.explain(PICTURE, UNSAFE, writer, answer_by_s=answer_by_s)
            for _ in range(3)
        )
    )
    assert found == ["timeout"] * 3
    assert writer.given_up <= 1
    after = await started(["A ", "man ", "here."])
    # Whoever waited for a place left it.
    assert isinstance(await Explaining().explainer.explain(PICTURE, UNSAFE, after), Explanation)


async def test_so_many_are_written_at_a_time() -> None:
    most = running = 0

    async def words() -> AsyncIterator[str]:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        yield "A man is here."

    engine = StubEngine(chats=lambda chat: words())
    await engine.start()
    explainer = Explaining(at_once=2).explainer
    await asyncio.gather(*(explainer.explain(PICTURE, UNSAFE, engine) for _ in range(7)))
    assert most == 2
