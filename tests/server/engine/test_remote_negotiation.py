"""What a start finds out: which settings the endpoint takes, and what it runs."""

import re
from typing import Any

import pytest

from server.engine.protocol import Prompt, Question, Sampling
from server.engine.remote import RemoteEngine
from server.errors import EngineStartError, UnusableAnswerError

QUESTION = Question("Is it?", ("yes", "no"))


def strict(server: Any, *, refused: dict[str, str], text: str = "Yes.", top: Any = None) -> Any:
    """An endpoint that refuses whoever sends one of `refused`, with the message given there."""

    def answer(chat: Any) -> Any:
        for name, message in refused.items():
            if name in chat.body:
                return server.fail(400, message, param=name, code="unsupported_parameter")
        return server.say(text, top=top if chat.wants_logprobs else None)

    return answer


async def test_an_endpoint_that_refuses_probabilities_is_read_by_first_words(
    openai_server: Any, remote: Any
) -> None:
    openai_server.answer = strict(
        openai_server, refused={"logprobs": "logprobs are not supported with this model"}
    )
    engine = await remote()
    assert not engine.has_logprobs
    assert "answers=first-word" in engine.card.version
    assert (await engine.ask(QUESTION)).option_mass == {"yes": 1.0, "no": 0.0}
    # It is remembered: no request with probabilities, and no refusal, any more.
    (chat,) = openai_server.chats
    assert "logprobs" not in chat.body
    assert chat.body["max_tokens"] == 16


@pytest.mark.parametrize(
    "message",
    [
        "You are not allowed to request logprobs from this model",
        "Unrecognized request argument supplied: logprobs",
        "Log probabilities are not available",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 422])
async def test_the_refusal_of_probabilities_is_understood_without_a_param(
    openai_server: Any, remote: Any, status: int, message: str
) -> None:
    openai_server.answer = lambda chat: (
        openai_server.fail(status, message) if chat.wants_logprobs else openai_server.say("No")
    )
    assert not (await remote()).has_logprobs


async def test_an_endpoint_that_leaves_probabilities_out_is_read_by_first_words(
    openai_server: Any, remote: Any
) -> None:
    openai_server.answer = lambda chat: openai_server.say("No, it is not.")
    engine = await remote()
    assert not engine.has_logprobs
    assert (await engine.ask(QUESTION)).option_mass == {"yes": 0.0, "no": 1.0}


async def test_fewer_probabilities_are_asked_for_where_twenty_are_too_many(
    openai_server: Any, remote: Any
) -> None:
    def answer(chat: Any) -> Any:
        if chat.body.get("top_logprobs", 0) > 5:
            return openai_server.fail(400, "top_logprobs must be at most 5")
        return openai_server.say("Yes", top={"Yes": 0.75})

    openai_server.answer = answer
    engine = await remote()
    assert engine.has_logprobs
    assert "answers=top-5" in engine.card.version
    assert (await engine.ask(QUESTION)).option_mass["yes"] == pytest.approx(0.75)


async def test_probabilities_can_be_left_alone(openai_server: Any, remote: Any) -> None:
    engine = await remote(logprobs=False)
    await engine.ask(QUESTION)
    assert not engine.has_logprobs
    assert not any(chat.wants_logprobs for chat in openai_server.chats)


async def test_a_missing_probability_after_the_start_is_no_answer(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.say("Yes")
    with pytest.raises(UnusableAnswerError, match="without the probabilities"):
        await engine.ask(QUESTION)
    assert engine.has_logprobs


async def test_the_token_limits_other_name_is_used_where_it_is_wanted(
    openai_server: Any, remote: Any
) -> None:
    openai_server.answer = strict(
        openai_server,
        refused={
            "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        },
        top={"Yes": 1.0},
    )
    engine = await remote()
    await engine.ask(QUESTION)
    await engine.write_all([Prompt("p")], Sampling(max_tokens=99))
    assert [chat.body["max_completion_tokens"] for chat in openai_server.chats] == [1, 99]
    assert not any("max_tokens" in chat.body for chat in openai_server.chats)


async def test_settings_that_are_refused_are_left_out_and_named(
    openai_server: Any, remote: Any
) -> None:
    openai_server.answer = strict(
        openai_server,
        refused={
            "temperature": "Unsupported value: 'temperature' does not support 0 with this model.",
            "top_p": "no top_p here",
            "seed": "Extra inputs are not permitted",
        },
        top={"Yes": 1.0},
    )
    engine = await remote()
    assert "without=seed+temperature+top_p" in engine.card.version
    (answer,) = await engine.ask_all([QUESTION])
    (written,) = await engine.write_all([Prompt("p", seed=3)], Sampling())
    assert not isinstance(answer, Exception)
    assert not isinstance(written, Exception)
    for chat in openai_server.chats:
        assert not {"temperature", "top_p", "seed"} & chat.body.keys()


async def test_a_model_that_needs_more_than_one_token_is_asked_for_words(
    openai_server: Any, remote: Any
) -> None:
    openai_server.answer = lambda chat: (
        openai_server.fail(400, "Could not finish the message, the output limit was reached.")
        if chat.body["max_tokens"] < 64
        else openai_server.say("Yes")
    )
    engine = await remote(text_max_tokens=64)
    assert not engine.has_logprobs
    assert (await engine.ask(QUESTION)).option_mass["yes"] == 1.0


async def test_the_card_names_what_the_endpoint_says_it_runs(
    openai_server: Any, remote: Any
) -> None:
    openai_server.models = [{"id": "other"}, {"id": "tiny", "root": "/models/secret/tiny-7b"}]
    openai_server.answer = lambda chat: openai_server.say(
        "Yes", top={"Yes": 1.0}, model="tiny-2024-08-06", fingerprint="fp_44", tokens=None
    )
    card = (await remote()).card
    assert (card.id, card.has_recognition) == ("tiny", False)
    digest, _, facts = card.version.partition(":")
    assert re.fullmatch("[0-9a-f]{12}", digest)
    assert (
        facts == "model=tiny-2024-08-06,root=tiny-7b,fingerprint=fp_44,answers=top-20,tokens=words"
    )


async def test_the_version_is_the_same_again_and_another_for_another_model(
    openai_server: Any, remote: Any
) -> None:
    versions = [(await remote()).card.version for _ in range(2)]
    openai_server.answer = lambda chat: openai_server.say(
        "Yes", top={"Yes": 1.0}, fingerprint="fp_45"
    )
    other = (await remote()).card.version
    assert versions[0] == versions[1]
    assert other[:12] != versions[0][:12]


async def test_a_model_that_changes_while_it_is_asked_is_noticed(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    version = engine.card.version
    assert engine.origins == ("tiny@?",)
    openai_server.answer = lambda chat: openai_server.say(
        "Yes", top={"Yes": 1.0}, model="tiny-2", fingerprint="fp_2"
    )
    await engine.ask(QUESTION)
    assert engine.origins == ("tiny-2@fp_2", "tiny@?")
    assert engine.card.version == version


async def test_extra_fields_are_part_of_the_version_without_their_values(
    openai_server: Any, remote: Any
) -> None:
    plain = (await remote()).card.version
    low = (await remote(extra_body={"reasoning_effort": "low"})).card.version
    high = (await remote(extra_body={"reasoning_effort": "high"})).card.version
    assert "extra=reasoning_effort" in low
    assert "high" not in high
    assert len({version[:12] for version in (plain, low, high)}) == 3


async def start_error(server: Any, **options: Any) -> str:
    engine = RemoteEngine(server.base_url, "tiny", **options)
    with pytest.raises(EngineStartError) as caught:
        await engine.start()
    assert not await engine.ready()
    return caught.value.reason


async def test_an_unknown_model_is_named_beside_those_there_are(
    openai_server: Any, quick_retries: None
) -> None:
    openai_server.models = [{"id": f"model-{number}"} for number in range(10)]
    openai_server.answer = lambda chat: openai_server.fail(404, "The model `tiny` does not exist.")
    reason = await start_error(openai_server)
    assert reason.startswith("tiny can't be asked: 127.0.0.1:")
    assert "has no model 'tiny' (404); it lists model-0, model-1," in reason
    assert reason.endswith("model-7 and 2 more")


async def test_a_wrong_path_is_told_from_an_unknown_model(
    openai_server: Any, quick_retries: None
) -> None:
    engine = RemoteEngine(openai_server.base_url.removesuffix("/v1") + "/nowhere", "tiny")
    openai_server.answer = lambda chat: openai_server.send(404, b'{"detail":"Not Found"}')
    openai_server.models = openai_server.send(404, b"")
    with pytest.raises(EngineStartError, match="its base address is another, which mostly ends"):
        await engine.start()


async def test_a_model_without_eyes_is_told_so(openai_server: Any, quick_retries: None) -> None:
    openai_server.answer = lambda chat: (
        openai_server.fail(400, "At most 0 image(s) may be provided in one prompt.")
        if chat.image_urls
        else openai_server.say("Yes", top={"Yes": 1.0})
    )
    assert "it takes no pictures: At most 0 image(s)" in await start_error(openai_server)


async def test_a_model_without_eyes_may_judge_words(openai_server: Any, remote: Any) -> None:
    await remote(needs_pictures=False)
    seen = []
    openai_server.answer = lambda chat: seen.append(chat.image_urls) or openai_server.say("Yes")
    await remote(needs_pictures=False)
    assert seen == [[]] * len(seen)
    assert seen


async def test_a_model_that_only_thinks_is_told_so(openai_server: Any, quick_retries: None) -> None:
    openai_server.answer = lambda chat: openai_server.say(None, finish_reason="length")
    reason = await start_error(openai_server)
    assert "16 tokens holds no words: a model that thinks first needs more" in reason


async def test_a_start_that_fails_asks_no_more_than_it_must(
    openai_server: Any, quick_retries: None
) -> None:
    openai_server.answer = lambda chat: openai_server.fail(401)
    await start_error(openai_server)
    assert (openai_server.model_requests, len(openai_server.chats)) == (1, 1)


async def test_a_question_in_flight_when_probabilities_end_is_not_read_by_words(
    openai_server: Any, remote: Any
) -> None:
    engine = await remote()
    openai_server.answer = lambda chat: openai_server.fail(400, "logprobs are gone")
    (result,) = await engine.ask_all([QUESTION])
    assert isinstance(result, UnusableAnswerError)
    assert len(openai_server.chats) == 1
