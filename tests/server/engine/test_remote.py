"""The remote engine on a real local server: questions, batches, and who may be in flight."""

import asyncio
import base64
import io
from typing import Any

import pytest
from PIL import Image

from server.engine.protocol import Prompt, Question, Sampling, Written
from server.engine.remote import PictureEncoding, RemoteEngine
from server.errors import (
    EngineUnavailableError,
    QuestionTooLongError,
    UnusableAnswerError,
)

YES_NO = ("yes", "no")


def ask(text: str, *, image: Image.Image | None = None) -> Question:
    return Question(text=text, options=YES_NO, image=image)


async def test_masses_are_summed_over_the_spellings_that_are_shown(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.say(
        "Yes",
        top={
            "Yes": 0.5,
            " yes": 0.125,
            "YES": 0.0625,
            "No": 0.03125,
            "Yesterday": 0.2,
            "The": 0.01,
        },
    )
    answer = await engine.ask(ask("Is it?"))
    assert answer.option_mass == pytest.approx({"yes": 0.6875, "no": 0.03125})
    assert answer.recognition is None


async def test_a_question_costs_one_token_and_is_greedy(openai_server: Any, remote: Any) -> None:
    engine = await remote(extra_body={"reasoning_effort": "none"})
    await engine.ask(ask("Is it?"))
    (chat,) = openai_server.chats
    assert chat.body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Is it?"}],
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20,
        "reasoning_effort": "none",
    }


async def test_a_picture_arrives_before_the_words_and_pixel_by_pixel(
    openai_server: Any, remote: Any
) -> None:
    image = Image.effect_noise((31, 17), 90).convert("RGB")
    engine = await remote()
    await engine.ask(ask("Is it?", image=image))
    (chat,) = openai_server.chats
    content = chat.body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert content[0]["image_url"].keys() == {"url"}
    head, _, payload = chat.image_urls[0].partition(",")
    received = Image.open(io.BytesIO(base64.b64decode(payload)))
    assert head == "data:image/png;base64"
    assert received.tobytes() == image.tobytes()


async def test_how_pictures_are_sent_can_be_chosen_and_is_part_of_the_version(
    openai_server: Any, remote: Any
) -> None:
    plain = await remote()
    small = await remote(pictures=PictureEncoding("jpeg", max_side_px=10, detail="low"))
    await small.ask(ask("Is it?", image=Image.new("RGB", (40, 20))))
    (chat,) = openai_server.chats
    part = chat.body["messages"][0]["content"][0]["image_url"]
    received = Image.open(io.BytesIO(base64.b64decode(part["url"].partition(",")[2])))
    assert (received.format, received.size, part["detail"]) == ("JPEG", (10, 5), "low")
    assert "pictures=jpeg90-10px-detail-low" in small.card.version
    assert small.card.version.partition(":")[0] != plain.card.version.partition(":")[0]


async def test_answers_keep_the_order_of_the_questions(openai_server: Any, remote: Any) -> None:
    engine = await remote(max_concurrency=4)
    openai_server.answer = lambda chat: openai_server.say(
        "x", top={"yes": int(chat.text) / 1000, "no": 0.5}
    )
    answers = await engine.ask_all([ask(str(number)) for number in range(1, 41)])
    assert [round(answer.option_mass["yes"] * 1000) for answer in answers] == list(range(1, 41))


async def test_as_many_are_in_flight_as_allowed_and_no_more(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote(max_concurrency=3)
    # The server answers nothing before three are there, so fewer would hang.
    openai_server.meeting = 3
    lone = [engine.ask(ask("alone")) for _ in range(5)]
    batches = engine.ask_all([ask("batch")] * 7), engine.write_all([Prompt("p")] * 6, Sampling())
    await asyncio.gather(*lone, *batches)
    assert len(openai_server.chats) == 18
    assert openai_server.most_at_once == 3


async def test_sampling_and_each_prompts_own_seed_are_passed_on(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    prompts = [Prompt("one", seed=11), Prompt("two", seed=22, image=Image.new("RGB", (8, 8)))]
    await engine.write_all(prompts, Sampling(max_tokens=7, temperature=0.5, top_p=0.25))
    sent = {chat.text: chat.body for chat in openai_server.chats}
    assert {text: body["seed"] for text, body in sent.items()} == {"one": 11, "two": 22}
    for body in sent.values():
        assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 0.25)
        assert "logprobs" not in body


@pytest.mark.parametrize(
    ("finish_reason", "tokens", "expected"),
    [
        ("stop", 9, Written("It is fine.", 9, True)),
        ("length", 512, Written("It is fine.", 512, False)),
        ("stop", None, Written("It is fine.", 3, True)),
    ],
)
async def test_a_written_answer(
    openai_server: Any, remote: Any, finish_reason: str, tokens: int | None, expected: Written
) -> None:
    engine = await remote()
    openai_server.script = [
        openai_server.say("It is fine.", finish_reason=finish_reason, tokens=tokens)
    ]
    assert await engine.write_all([Prompt("Is it?")], Sampling()) == [expected]


async def test_a_models_own_refusal_is_its_answer_and_no_words_are_an_empty_one(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote(max_concurrency=1)
    openai_server.script = [
        openai_server.say(None, refusal="I can't help with that.", tokens=8),
        openai_server.say(None, tokens=1),
    ]
    written = await engine.write_all([Prompt("a"), Prompt("b")], Sampling())
    assert written == [Written("I can't help with that.", 8, True), Written("", 1, True)]


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_filters_refusal_is_an_error_that_names_the_filter(
    openai_server: Any, remote: Any, is_written: bool
) -> None:
    engine = await remote(max_concurrency=1)
    openai_server.script = [
        openai_server.say("", top={"Yes": 1.0}, finish_reason="content_filter"),
        openai_server.fail(400, "The prompt was filtered.", code="content_filter"),
        openai_server.fail(403, "requires moderation and your input was flagged"),
    ]
    if is_written:
        results = await engine.write_all([Prompt(str(i)) for i in range(4)], Sampling())
    else:
        results = await engine.ask_all([ask(str(i)) for i in range(4)])
    assert [type(result) for result in results[:3]] == [UnusableAnswerError] * 3
    assert all("content filter" in str(result) for result in results[:3])
    assert not isinstance(results[3], Exception)


async def test_one_questions_error_is_its_own(openai_server: Any, remote: Any) -> None:
    engine = await remote(max_concurrency=1)
    openai_server.script = [
        openai_server.say("Yes", top={"Yes": 1.0}),
        openai_server.fail(400, "This model's maximum context length is 512 tokens. However, ..."),
        openai_server.fail(400, "the picture has a side of one pixel"),
        openai_server.send(413, b"<html>too large</html>"),
        openai_server.say("Yes", top={"Yes": 1.0}),
    ]
    first, long, odd, large, last = await engine.ask_all([ask(str(i)) for i in range(5)])
    assert first.option_mass == last.option_mass == {"yes": 1.0, "no": 0.0}
    assert isinstance(long, QuestionTooLongError)
    assert long.max_tokens == 512
    assert isinstance(odd, UnusableAnswerError)
    assert "a side of one pixel" in str(odd)
    assert "too large" in str(large)


async def test_an_empty_batch_asks_nothing(openai_server: Any, remote: Any) -> None:
    engine = await remote()
    assert await engine.ask_all([]) == []
    assert await engine.write_all([], Sampling()) == []
    assert openai_server.chats == []


async def test_options_that_read_alike_are_refused_before_anything_is_sent(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    with pytest.raises(ValueError, match="can't tell apart"):
        await engine.ask_all([ask("fine"), Question("bad", ("Yes", "yes"))])
    assert openai_server.chats == []


async def test_cancelling_a_batch_cancels_all_of_it(openai_server: Any, remote: Any) -> None:
    engine = await remote(max_concurrency=2)
    openai_server.answer = lambda chat: openai_server.hold()
    openai_server.meeting = 2
    batch = asyncio.ensure_future(engine.ask_all([ask(str(number)) for number in range(9)]))
    async with asyncio.timeout(60):
        await openai_server.arrival(2)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        openai_server.answer = lambda chat: openai_server.say("No", top={"No": 1.0})
        openai_server.meeting = 1
        # Both slots are free again.
        await engine.ask_all([ask("a"), ask("b")])
    assert len(openai_server.chats) == 4


async def test_stopping_ends_what_is_in_flight(openai_server: Any, remote: Any) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.hold()
    asked = asyncio.ensure_future(engine.ask(ask("Is it?")))
    async with asyncio.timeout(60):
        await openai_server.arrival()
        await engine.stop()
        with pytest.raises(EngineUnavailableError, match="stopped"):
            await asked


async def test_before_start_and_after_stop_nothing_is_asked(openai_server: Any) -> None:
    engine = RemoteEngine(openai_server.base_url, "tiny")
    for read in (lambda: engine.card, lambda: engine.has_logprobs):
        with pytest.raises(EngineUnavailableError):
            read()
    assert not await engine.ready()
    await engine.start()
    await engine.start()
    assert await engine.ready()
    await engine.stop()
    await engine.stop()
    assert not await engine.ready()
    with pytest.raises(EngineUnavailableError):
        await engine.ask(ask("Is it?"))
    with pytest.raises(EngineUnavailableError):
        await engine.ask_all([ask("Is it?")])


async def test_it_starts_again_after_a_stop(openai_server: Any, remote: Any) -> None:
    engine = await remote()
    await engine.stop()
    await engine.start()
    assert (await engine.ask(ask("Is it?"))).option_mass["yes"] == 1.0


async def test_readiness_costs_no_question_where_models_are_listed(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    assert await engine.ready()
    openai_server.models = openai_server.fail(503)
    assert not await engine.ready()
    assert openai_server.chats == []


async def test_readiness_is_a_question_where_models_are_not_listed(
    openai_server: Any, remote: Any
) -> None:
    openai_server.models = openai_server.send(404, b"")
    engine = await remote(patience=None)
    assert await engine.ready()
    assert len(openai_server.chats) == 1
    openai_server.answer = lambda chat: openai_server.fail(503)
    assert not await engine.ready()


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrency": 0},
        {"text_max_tokens": 0},
        {"extra_body": {"model": "other"}},
        {"extra_body": {"temperature": 0.3}},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|extra_body"):
        RemoteEngine("http://127.0.0.1/v1", "tiny", **options)
