"""What a policy file changes in answers: lists, own concepts, tenants, failing closed."""

import asyncio
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from server.api import moderations_route
from server.concepts.policy import POLICY_FILE
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine
from server.ingest.fingerprint import fingerprint

Connect = Callable[..., Any]

DETAIL = {"sightward": '{"detail": true}'}
LOGO = {"name": "Logo", "description": "a logo", "block_at": 0.9, "review_at": 0.5}


def policy(folder: Path, **changes: Any) -> Path:
    shipped = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    path = folder / "policy.json"
    path.write_text(json.dumps(shipped | changes), encoding="utf-8")
    return path


def hash_of(shade: str) -> str:
    return fingerprint(Image.new("RGB", (16, 16), shade))


async def judge(client: httpx2.AsyncClient, *pictures: bytes, **headers: str) -> Any:
    files = [("file", ("a.png", one, "image/png")) for one in pictures]
    return await client.post("/v1/moderations", files=files, data=DETAIL, headers=headers)


async def result(client: httpx2.AsyncClient, *pictures: bytes, **headers: str) -> Any:
    response = await judge(client, *pictures, **headers)
    assert response.status_code == 200, response.text
    return response.json()["results"][0]


async def test_what_is_on_a_block_list_is_blocked_and_shown_to_no_model(
    connect: Connect, tmp_path: Path, safe_png: bytes, engine: StubEngine
) -> None:
    path = policy(tmp_path, lists={"block": [hash_of("white")]})
    async with connect(policy=path) as client:
        found = await result(client, safe_png)

    assert engine.questions == []
    assert found["flagged"]
    assert any(found["categories"].values())
    assert found["category_applied_input_types"]["illicit"] == []
    detail = found["sightward"]
    assert (detail["action"], detail["outcome"]) == ("block", "undetermined")
    assert detail["listed"] == {"list": "block", "source": "policy"}
    assert detail["fingerprints"] == [hash_of("white")]


async def test_what_is_on_an_allow_list_is_judged_and_allowed(
    connect: Connect, tmp_path: Path, unsafe_png: bytes
) -> None:
    path = policy(tmp_path, lists={"allow": [hash_of("black")]})
    async with connect(policy=path) as client:
        found = await result(client, unsafe_png)

    assert not found["flagged"]
    assert not any(found["categories"].values())
    assert found["sightward"]["action"] == "allow"
    assert found["sightward"]["p_unsafe"] > 0.9


async def test_one_allowed_picture_excuses_no_other(
    connect: Connect, tmp_path: Path, unsafe_png: bytes, png: Callable[[str], bytes]
) -> None:
    path = policy(tmp_path, lists={"allow": [hash_of("black")]})
    async with connect(policy=path) as client:
        found = await result(client, unsafe_png, png("#111111"))

    assert found["flagged"]
    assert found["sightward"]["action"] == "block"


@pytest.mark.parametrize(
    ("yes", "action", "score"), [(0.1, "allow", 0.1), (0.7, "review", 0.7), (0.95, "block", 0.95)]
)
async def test_an_own_concept_is_asked_about_and_decides_by_its_thresholds(
    connect: Connect, tmp_path: Path, safe_png: bytes, yes: float, action: str, score: float
) -> None:
    asked = []

    def answer(question: Question) -> Answer:
        if "a logo" in question.text:
            asked.append(question)
            return Answer({"yes": yes, "no": 1.0 - yes})
        return Answer({"yes": 0.9, "no": 0.1})

    path = policy(tmp_path, own_concepts=[LOGO])
    async with connect(policy=path, engine=StubEngine(answer)) as client:
        found = await result(client, safe_png)
        again = await result(client, safe_png)

    assert found["sightward"]["action"] == action
    assert found["flagged"] == (action == "block")
    assert found["sightward"]["own_concepts"] == {"Logo": pytest.approx(score)}
    assert again["sightward"]["own_concepts"] == found["sightward"]["own_concepts"]
    assert len(asked) == 1, "the answer is cached as the scores are"


async def test_an_own_concept_without_an_answer_is_reviewed(
    connect: Connect, tmp_path: Path, safe_png: bytes
) -> None:
    def answer(question: Question) -> Answer:
        return Answer({"yes": 0.0, "no": 0.0} if "a logo" in question.text else {"yes": 0.9})

    path = policy(tmp_path, own_concepts=[LOGO])
    async with connect(policy=path, engine=StubEngine(answer)) as client:
        found = await result(client, safe_png)

    assert found["sightward"]["own_concepts"] == {"Logo": None}
    assert found["sightward"]["action"] == "review"


async def test_a_key_is_answered_under_its_tenants_policy(
    connect: Connect, tmp_path: Path, png: Callable[[str], bytes], unsafe_png: bytes
) -> None:
    lax = {name: {"block_at": 1.0, "review_at": 1.0} for name in _categories()}
    path = policy(tmp_path, tenants={"lax": {"rules": lax}})
    lax_key = f"sha256:{hashlib.sha256(b'lax-key').hexdigest()}:moderate:lax"
    versions, actions = [], []
    async with connect(policy=path, api_keys=f"plain-key,{lax_key}") as client:
        for key in ("plain-key", "lax-key"):
            response = await judge(client, unsafe_png, authorization=f"Bearer {key}")
            detail = response.json()["results"][0]["sightward"]
            actions.append(detail["action"])
            versions.append(detail["policy_version"])
            assert response.headers["x-sightward-policy"] == detail["policy_version"]

    assert actions == ["block", "allow"]
    assert versions[0] != versions[1]


def _categories() -> list[str]:
    return list(json.loads(POLICY_FILE.read_text(encoding="utf-8"))["rules"])


async def test_a_changed_file_changes_the_next_answer_and_asks_no_model(
    connect: Connect, tmp_path: Path, unsafe_png: bytes, engine: StubEngine
) -> None:
    path = policy(tmp_path)
    async with connect(policy=path, policy_poll_s=3600) as client:
        before = await result(client, unsafe_png)
        policy(
            tmp_path, rules={name: {"block_at": 1.0, "review_at": 0.9} for name in _categories()}
        )
        app = client._transport.app
        assert await app.state.services.policies.refresh()
        after = await result(client, unsafe_png)
        metrics = (await client.get("/metrics")).text

    assert (before["sightward"]["action"], after["sightward"]["action"]) == ("block", "review")
    assert before["sightward"]["policy_version"] != after["sightward"]["policy_version"]
    assert len(engine.questions) == 1
    assert (
        f'sightward_policy_info{{version="{after["sightward"]["policy_version"]}"}} 1.0' in metrics
    )
    assert 'sightward_policy_reloads_total{result="loaded"} 1.0' in metrics


class Dead(StubEngine):
    """Starts, then answers nothing."""

    async def ask(self, question: Question) -> Answer:
        self.is_healthy = False
        return await super().ask(question)


@pytest.mark.parametrize(("unavailable", "status"), [("error", 503), ("review", 200)])
async def test_an_engine_that_dies_makes_an_error_or_a_review_and_never_an_allow(
    connect: Connect, tmp_path: Path, safe_png: bytes, unavailable: str, status: int
) -> None:
    path = policy(tmp_path, unavailable=unavailable)
    async with connect(policy=path, engine=Dead(), cache="off") as client:
        response = await judge(client, safe_png)

    assert response.status_code == status
    if status == 200:
        found = response.json()["results"][0]
        assert found["flagged"]
        assert found["sightward"]["action"] == "review"
        assert found["sightward"]["outcome"] == "undetermined"


class Stuck(StubEngine):
    """Starts, then never answers."""

    async def ask(self, question: Question) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    ("unavailable", "timeout_s", "status"), [("error", "0.6", 504), ("review", "2", 200)]
)
async def test_time_that_runs_out_makes_an_error_or_a_review_and_never_an_allow(
    connect: Connect,
    tmp_path: Path,
    safe_png: bytes,
    unavailable: str,
    timeout_s: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Half of the time is for answering: a busy machine needs more than a server is given.
    monkeypatch.setattr(moderations_route, "_ANSWER_TAKES_S", math.inf)
    path = policy(tmp_path, unavailable=unavailable)
    async with connect(policy=path, engine=Stuck(), cache="off") as client:
        response = await judge(client, safe_png, **{"x-request-timeout": timeout_s})

    assert response.status_code == status
    if status == 200:
        assert response.json()["results"][0]["sightward"]["action"] == "review"


async def test_undetermined_as_an_error_is_an_error(connect: Connect, tmp_path: Path) -> None:
    path = policy(tmp_path, undetermined="error")
    async with connect(policy=path) as client:
        whole = await client.post("/v1/moderations", json={"input": "mumble"})
        each = await client.post(
            "/v1/moderations",
            json={"input": ["mumble", "fine"], "sightward": {"per_input": True, "detail": True}},
        )

    assert whole.status_code == 422
    assert whole.json()["error"]["code"] == "input_not_judged"
    failed, fine = each.json()["results"]
    assert failed["flagged"]
    assert failed["sightward"]["error"]["code"] == "input_not_judged"
    assert fine["sightward"]["action"] == "allow"


class Matcher:
    """Knows white pictures."""

    name = "test-set-1"
    is_broken = False

    async def matches(self, image: Image.Image, fingerprint: str) -> bool:
        if Matcher.is_broken:
            raise RuntimeError("unreachable")
        return image.getpixel((0, 0)) == (255, 255, 255)

    async def close(self) -> None:
        pass


@pytest.fixture
def matcher(monkeypatch: pytest.MonkeyPatch) -> str:
    from types import ModuleType

    module = ModuleType("test_matcher_module")
    module.make = Matcher  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "test_matcher_module", module)
    monkeypatch.setattr(Matcher, "is_broken", False)
    return "test_matcher_module:make"


async def test_known_material_is_blocked_unseen_whatever_is_allowed(
    connect: Connect, tmp_path: Path, safe_png: bytes, engine: StubEngine, matcher: str
) -> None:
    path = policy(tmp_path, lists={"allow": [hash_of("white")]})
    async with connect(policy=path, known_material=matcher) as client:
        found = await result(client, safe_png)

    assert engine.questions == []
    assert found["sightward"]["action"] == "block"
    assert found["sightward"]["listed"] == {"list": "block", "source": "test-set-1"}


async def test_a_matcher_that_fails_lets_nothing_through(
    connect: Connect, safe_png: bytes, matcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Matcher, "is_broken", True)
    async with connect(known_material=matcher) as client:
        response = await judge(client, safe_png)

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "matching_unavailable"


async def test_a_blocked_picture_is_never_talked_about(
    connect: Connect,
    tmp_path: Path,
    safe_png: bytes,
    image_part: Callable[[bytes], dict[str, object]],
    engine: StubEngine,
) -> None:
    path = policy(
        tmp_path,
        lists={"block": [hash_of("white")]},
        hints={"enabled": False},
        chat={"must_refuse": "ask_model"},
    )
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [image_part(safe_png)]}],
    }
    async with connect(policy=path) as client:
        answer = (await client.post("/v1/chat/completions", json=body)).json()

    assert answer["sightward"]["answered_by"] == "server"
    assert (answer["sightward"]["hint"], answer["sightward"]["source"]) == ("must_refuse", "list")
    assert engine.conversations == []
    assert engine.questions == []
