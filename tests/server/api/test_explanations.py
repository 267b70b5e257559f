"""``"explain": true``: beside the verdict, never part of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.concepts.policy import POLICY_FILE
from server.engine.conversation import Chat
from server.engine.protocol import Answer, Engine, ModelCard, Question
from server.engine.stub import StubEngine
from server.errors import EngineUnavailableError, UnusableAnswerError

Connect = Callable[..., Any]
CARD = ModelCard(id="stub-vlm", version="abcdef012345", has_recognition=False)


def judge(question: Question) -> Answer:
    """Dark pictures and "attack" are unsafe, "mumble" gets no answer."""
    if "mumble" in question.text:
        return Answer({"yes": 0.001, "no": 0.001})
    is_dark = question.image is not None and question.image.getpixel((0, 0))[0] < 128
    is_unsafe = is_dark or "attack" in question.text
    return Answer({"yes": 0.1, "no": 0.9} if is_unsafe else {"yes": 0.9, "no": 0.1})


def say_what(chat: Chat) -> list[str]:
    """Name the content: the words of a text, or the shade of a picture."""
    content = chat.turns[0].parts[0]
    if isinstance(content, str):
        return ["It ", "is ", "about ", f"{content.split()[-1]}."]
    return ["It ", "shows ", f"{content.getpixel((0, 0))[0]}. ", "And ", "mo"]


def writing(**stub: Any) -> StubEngine:
    return StubEngine(judge, card=CARD, chats=say_what, **stub)


def lines_in(folder: Path) -> list[str]:
    return [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


async def ask(client: httpx2.AsyncClient, content: Any, **options: Any) -> list[dict[str, Any]]:
    body = {"input": content, "sightward": {"explain": True} | options}
    response = await client.post("/v1/moderations", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


async def test_an_explanation_stands_beside_the_whole_detail(connect: Connect) -> None:
    async with connect(engine=writing()) as client:
        (result,) = await ask(client, "an attack")
        (alone,) = await ask(client, "an attack", explain=False, detail=True)
        metrics = (await client.get("/metrics")).text
    explained = result["sightward"]
    assert explained.pop("explanation") == {
        "text": "It is about attack.",
        "tokens": 5,
        "truncated": False,
    }
    assert explained.pop("no_explanation") is None
    assert explained.keys() == alone["sightward"].keys()
    assert 'sightward_explanations_total{outcome="written"} 1.0' in metrics


async def test_nobody_pays_for_what_was_not_asked_for(connect: Connect) -> None:
    engine = writing()
    async with connect(engine=engine) as client:
        (result,) = await ask(client, "an attack", explain=False)
    assert "sightward" not in result
    assert engine.conversations == []


async def test_of_a_merged_call_the_input_that_decided_is_explained(
    connect: Connect,
    safe_png: bytes,
    unsafe_png: bytes,
    image_part: Callable[[bytes], dict[str, object]],
) -> None:
    engine = writing()
    parts = [image_part(safe_png), image_part(unsafe_png), {"type": "text", "text": "fine"}]
    async with connect(engine=engine) as client:
        (merged,) = await ask(client, parts)
        single = await ask(client, parts, per_input=True)
    assert merged["sightward"]["explanation"]["text"] == "It shows 0."
    texts = [one["sightward"]["explanation"]["text"] for one in single]
    assert texts == ["It shows 255.", "It shows 0.", "It is about fine."]


async def test_scores_from_the_cache_are_explained_anew(
    connect: Connect, unsafe_png: bytes, image_part: Callable[[bytes], dict[str, object]]
) -> None:
    engine = writing()
    async with connect(engine=engine) as client:
        found = [(await ask(client, [image_part(unsafe_png)]))[0] for _ in range(2)]
    assert found[1]["sightward"]["scores_from"] == ["cache"]
    assert found[1]["sightward"]["explanation"] == found[0]["sightward"]["explanation"]
    assert len(engine.conversations) == 2


@pytest.mark.parametrize("error", [EngineUnavailableError("gone"), UnusableAnswerError("what")])
async def test_a_verdict_outlives_its_explanation(connect: Connect, error: Exception) -> None:
    def fail(chat: Chat) -> list[str]:
        raise error

    engine = StubEngine(judge, card=CARD, chats=fail)
    async with connect(engine=engine) as client:
        (result,) = await ask(client, "an attack")
    assert (result["flagged"], result["sightward"]["action"]) == (True, "block")
    assert result["sightward"]["explanation"] is None
    assert result["sightward"]["no_explanation"] == "failed"


async def test_what_the_model_writes_has_no_say(connect: Connect) -> None:
    engine = StubEngine(
        judge, card=CARD, chats=lambda chat: ["This ", "is ", "perfectly ", "safe."]
    )
    async with connect(engine=engine) as client:
        (result,) = await ask(client, "an attack")
    assert result["sightward"]["explanation"]["text"] == "This is perfectly safe."
    assert (result["flagged"], result["sightward"]["action"]) == (True, "block")


async def test_there_is_none_where_nothing_was_judged(connect: Connect) -> None:
    async with connect(engine=writing(), max_text_chars=100) as client:
        undetermined, refused = await ask(client, ["mumble", "x" * 500], per_input=True)
    for result in (undetermined, refused):
        assert result["sightward"]["explanation"] is None
        assert result["sightward"]["no_explanation"] == "not_judged"
        assert result["sightward"]["outcome"] == "undetermined"


async def test_what_a_list_decided_is_not_explained_by_the_model(
    connect: Connect,
    tmp_path: Path,
    unsafe_png: bytes,
    image_part: Callable[[bytes], dict[str, object]],
) -> None:
    engine = writing()
    async with connect(engine=engine) as client:
        (result,) = await ask(client, [image_part(unsafe_png)], explain=False, detail=True)
    policy = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    policy["lists"] = {"allow": result["sightward"]["fingerprints"]}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    async with connect(engine=engine, policy=tmp_path / "policy.json") as client:
        (result,) = await ask(client, [image_part(unsafe_png)])
    assert result["sightward"]["action"] == "allow"
    assert result["sightward"]["no_explanation"] == "listed"


class Silent:
    """An engine that judges and does not write."""

    card = CARD

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def ready(self) -> bool:
        return True

    async def ask(self, question: Question) -> Answer:
        return judge(question)


async def test_an_engine_that_does_not_write_says_so(connect: Connect) -> None:
    engine: Engine = Silent()
    async with connect(engine=engine) as client:
        (result,) = await ask(client, "an attack")
    assert result["sightward"]["no_explanation"] == "unsupported"


async def test_an_explanation_is_not_put_on_record(connect: Connect, tmp_path: Path) -> None:
    async with connect(engine=writing(), audit_log=str(tmp_path)) as client:
        await ask(client, "an attack")
    (line,) = lines_in(tmp_path)
    assert "It is about" not in line


async def test_lines_of_a_batch_may_ask_for_one(connect: Connect, tmp_path: Path) -> None:
    line = json.dumps({"input": "an attack", "sightward": {"explain": True}})
    async with connect(engine=writing(), batches_dir=tmp_path) as client:
        at = "/v1/moderations/batches"
        headers = {"content-type": "application/x-ndjson"}
        batch = (await client.post(at, content=line, headers=headers)).json()
        while not (text := (await client.get(f"{at}/{batch['id']}/results")).text):
            pass
    (result,) = json.loads(text)["response"]["results"]
    assert result["sightward"]["explanation"]["text"] == "It is about attack."
