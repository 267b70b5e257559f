"""Batches over HTTP: what comes in, what comes out, whose it is, and what happens to bad lines."""

import asyncio
import hashlib
import io
import json
import os
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine

Connect = Callable[..., Any]
PATH = "/v1/moderations/batches"
NDJSON = {"content-type": "application/x-ndjson"}
ENDS = {"completed", "failed", "cancelled", "expired"}
KEYS = ",".join(
    f"sha256:{hashlib.sha256(key).hexdigest()}:moderate:{tenant}"
    for key, tenant in ((b"shop-key", "shop"), (b"forum-key", "forum"))
)
SHOP, FORUM = {"authorization": "Bearer shop-key"}, {"authorization": "Bearer forum-key"}


def jsonl(*lines: object) -> bytes:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "\n".join(texts).encode()


def texts(count: int) -> bytes:
    return jsonl(*({"custom_id": f"t{n}", "input": f"text {n}"} for n in range(count)))


async def send(client: httpx2.AsyncClient, body: bytes, **headers: str) -> dict[str, Any]:
    response = await client.post(PATH, content=body, headers=NDJSON | headers)
    assert response.status_code == 200, response.text
    batch: dict[str, Any] = response.json()
    return batch


async def ended(client: httpx2.AsyncClient, batch_id: str, **headers: str) -> dict[str, Any]:
    while True:
        response = await client.get(f"{PATH}/{batch_id}", headers=headers)
        batch: dict[str, Any] = response.json()
        if batch["status"] in ENDS:
            return batch


async def results(
    client: httpx2.AsyncClient, batch_id: str, query: str = "", **headers: str
) -> list[dict[str, Any]]:
    response = await client.get(f"{PATH}/{batch_id}/results{query}", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def by_id(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({line["custom_id"] for line in lines}) == len(lines), "a line was answered twice"
    return {line["custom_id"]: line for line in lines}


def files_in(folder: Path, name: str = "*") -> list[Path]:
    # Unlike `rglob`, this does not mind what is deleted meanwhile.
    found = [Path(at) / file for at, _, files in os.walk(folder) for file in files]
    return [path for path in found if path.match(name)]


@pytest.fixture
async def client(connect: Connect, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect(batches_dir=tmp_path / "batches") as client:
        yield client


class Held(StubEngine):
    """Answers nothing until it is let go, and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(Answer({"yes": 0.9, "no": 0.05}))
        self.go = asyncio.Event()
        self.was_asked = asyncio.Event()

    async def ask(self, question: Question) -> Answer:
        self.was_asked.set()
        await self.go.wait()
        return await super().ask(question)


async def test_every_line_gets_the_answer_that_it_would_get_alone(
    client: httpx2.AsyncClient,
    unsafe_png: bytes,
    image_part: Callable[[bytes], dict[str, object]],
) -> None:
    requests: dict[str, Any] = {
        "safe": {"input": "a nice day"},
        "unsafe": {"input": "an attack", "sightward": {"detail": True}},
        "several": {"input": ["one", "an attack"]},
        "picture": {"input": [image_part(unsafe_png)]},
    }
    batch = await send(
        client, jsonl(*({"custom_id": name} | body for name, body in requests.items()))
    )
    assert (batch["object"], batch["endpoint"]) == ("batch", "/v1/moderations")
    done = await ended(client, batch["id"])

    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
    assert done["created_at"] <= done["in_progress_at"] <= done["completed_at"]
    answers = by_id(await results(client, batch["id"]))
    assert answers.keys() == requests.keys()
    for name, body in requests.items():
        alone = (await client.post("/v1/moderations", json=body)).json()
        assert answers[name]["error"] is None
        response = answers[name]["response"]
        assert response["model"] == alone["model"]
        for ours, theirs in zip(response["results"], alone["results"], strict=True):
            for one in (ours, theirs):
                one.get("sightward", {}).pop("timings_ms", None)
                one.get("sightward", {}).pop("scores_from", None)
            assert ours == theirs


async def test_a_form_takes_pictures_and_lines_and_options_for_the_pictures(
    client: httpx2.AsyncClient, unsafe_png: bytes, safe_png: bytes
) -> None:
    response = await client.post(
        PATH,
        files=[
            ("file", ("dark.png", unsafe_png, "image/png")),
            ("requests", ("more.jsonl", jsonl({"input": "an attack"}, "", {"input": "fine"}))),
            ("file", ("böse/bright.png", safe_png, "image/png")),
        ],
        data={"sightward": json.dumps({"detail": True})},
    )
    assert response.status_code == 200, response.text
    await ended(client, response.json()["id"])
    answers = by_id(await results(client, response.json()["id"]))

    assert answers.keys() == {"dark.png", "line-2", "line-3", "böse/bright.png"}
    flagged = {name: one["response"]["results"][0]["flagged"] for name, one in answers.items()}
    assert flagged == {"dark.png": True, "line-2": True, "line-3": False, "böse/bright.png": False}
    assert answers["dark.png"]["response"]["results"][0]["sightward"]["action"] == "block"
    assert "sightward" not in answers["line-2"]["response"]["results"][0]


async def test_a_bad_line_fails_alone_and_is_never_safe(
    connect: Connect, tmp_path: Path, image_part: Callable[[bytes], dict[str, object]]
) -> None:
    bad: dict[str, tuple[Any, str]] = {
        "line-1": ("{not json", "invalid_body"),
        "line-2": ('{"input": "a", "input": "b"}', "invalid_body"),
        "line-3": ([1], "invalid_field"),
        "line-4": ({"custom_id": 7, "input": "x"}, "invalid_field"),
        "empty": ({"custom_id": "empty", "input": ""}, "invalid_field"),
        "damaged": ({"custom_id": "damaged", "input": [image_part(b"\x89PNG no")]}, ""),
        "url": (
            {
                "custom_id": "url",
                "input": [{"type": "image_url", "image_url": {"url": "http://a.example/x.png"}}],
            },
            "url_fetch_disabled",
        ),
        "many": ({"custom_id": "many", "input": ["a"] * 9}, "too_many_inputs"),
        "elsewhere": (
            {"custom_id": "elsewhere", "url": "/v1/chat/completions", "body": {"input": "x"}},
            "invalid_field",
        ),
        "line-10": ("x" * 3000, "body_too_large"),
    }
    async with connect(
        batches_dir=tmp_path, max_inputs=8, max_body_bytes=2048, batches_lines_at_once=3
    ) as client:
        lines = [line for line, _ in bad.values()]
        batch = await send(client, jsonl(*lines, {"custom_id": "good", "input": "fine"}))
        done = await ended(client, batch["id"])
        answers = by_id(await results(client, batch["id"]))

    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 11, "completed": 1, "failed": 10}
    assert answers["good"]["response"]["results"][0]["flagged"] is False
    for name, (_, code) in bad.items():
        answer = answers[name]
        assert answer["response"] is None
        assert answer["error"].keys() == {"message", "type", "param", "code"}
        assert answer["error"]["code"] == code or not code


async def test_lines_of_openais_batch_files_are_taken_as_they_are(
    client: httpx2.AsyncClient,
) -> None:
    line = {
        "custom_id": "one",
        "method": "POST",
        "url": "/v1/moderations",
        "body": {"model": "omni-moderation-latest", "input": "an attack"},
    }
    batch = await send(client, jsonl(line))
    await ended(client, batch["id"])
    (answer,) = await results(client, batch["id"])
    assert (answer["custom_id"], answer["line"]) == ("one", 1)
    assert answer["response"]["results"][0]["flagged"] is True


async def test_what_could_not_be_judged_is_not_safe(client: httpx2.AsyncClient) -> None:
    batch = await send(client, jsonl({"input": "mumble", "sightward": {"detail": True}}))
    await ended(client, batch["id"])
    (answer,) = await results(client, batch["id"])
    (result,) = answer["response"]["results"]
    assert result["flagged"] is True
    assert result["sightward"]["outcome"] == "undetermined"


async def test_two_lines_of_one_name_fail_the_batch_and_nothing_is_judged(
    client: httpx2.AsyncClient, engine: StubEngine, tmp_path: Path
) -> None:
    lines = [{"custom_id": "a", "input": "x"}, {"custom_id": "b", "input": "y"}]
    batch = await send(client, jsonl(*lines, lines[0]))
    done = await ended(client, batch["id"])
    assert (done["status"], done["completed_at"]) == ("failed", None)
    (problem,) = done["errors"]["data"]
    assert (problem["code"], problem["line"]) == ("duplicate_custom_id", 3)
    assert await results(client, batch["id"]) == []
    assert engine.questions == []
    while files_in(tmp_path, "input"):  # deleted once it is sure that nobody needs it
        await client.get(f"{PATH}/{batch['id']}")


async def test_results_come_in_pages_that_do_not_change(client: httpx2.AsyncClient) -> None:
    batch = await send(client, texts(7))
    await ended(client, batch["id"])
    whole = await results(client, batch["id"])
    pages = [await results(client, batch["id"], f"?after={n}&limit=3") for n in (0, 3, 6, 9)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [line for page in pages for line in page] == whole


async def test_answers_are_there_while_the_batch_runs(connect: Connect, tmp_path: Path) -> None:
    engine = Held()
    engine.go.set()
    async with connect(engine=engine, batches_dir=tmp_path, batches_lines_at_once=1) as client:
        batch = await send(client, texts(3))
        found: list[dict[str, Any]] = []
        while not found:
            found = await results(client, batch["id"])
        engine.go.clear()
        shown = (await client.get(f"{PATH}/{batch['id']}")).json()
        engine.go.set()
        done = await ended(client, batch["id"])
        assert found == (await results(client, batch["id"]))[: len(found)]
    assert shown["request_counts"]["completed"] >= len(found)
    assert done["request_counts"]["completed"] == 3


async def test_a_cancelled_batch_answers_every_line_once_and_deletes_what_was_sent(
    connect: Connect, tmp_path: Path
) -> None:
    engine = Held()
    async with connect(engine=engine, batches_dir=tmp_path, batches_lines_at_once=2) as client:
        batch = await send(client, texts(20))
        await engine.was_asked.wait()
        refused = await client.delete(f"{PATH}/{batch['id']}")
        asked = (await client.post(f"{PATH}/{batch['id']}/cancel")).json()
        again = await client.post(f"{PATH}/{batch['id']}/cancel")
        engine.go.set()
        done = await ended(client, batch["id"])
        answers = by_id(await results(client, batch["id"]))
        late = await client.post(f"{PATH}/{batch['id']}/cancel")
        metrics = (await client.get("/metrics")).text

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "batch_not_ended")
    assert (asked["status"], again.status_code) == ("cancelling", 200)
    assert (done["status"], late.json()["status"]) == ("cancelled", "cancelled")
    assert done["cancelling_at"] is not None
    assert done["cancelled_at"] is not None
    assert len(answers) == 20
    codes = [one["error"]["code"] for one in answers.values() if one["error"]]
    assert set(codes) == {"batch_cancelled"}
    judged = done["request_counts"]["completed"]
    assert judged in (1, 2)
    assert done["request_counts"] == {"total": 20, "completed": judged, "failed": 20 - judged}
    assert f'sightward_batch_lines_total{{outcome="cancelled"}} {20 - judged}.0' in metrics
    assert f'sightward_batch_lines_total{{outcome="completed"}} {judged}.0' in metrics
    assert files_in(tmp_path, "input") == []


async def test_a_batch_expires_and_says_so_line_by_line(connect: Connect, tmp_path: Path) -> None:
    async with connect(batches_dir=tmp_path, batches_window_h=1e-6) as client:
        batch = await send(client, texts(3))
        done = await ended(client, batch["id"])
        codes = [line["error"]["code"] for line in await results(client, batch["id"])]
        late = await client.post(f"{PATH}/{batch['id']}/cancel")
    assert (done["status"], codes) == ("expired", ["batch_expired"] * 3)
    assert done["expired_at"] is not None
    assert (late.status_code, late.json()["error"]["code"]) == (409, "batch_ended")


async def test_a_deleted_batch_leaves_nothing(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    batch = await send(client, texts(2))
    await ended(client, batch["id"])
    # The batch has ended a moment before whoever worked on it lets go.
    while (response := await client.delete(f"{PATH}/{batch['id']}")).status_code == 409:
        pass
    assert response.json() == {"id": batch["id"], "object": "batch", "deleted": True}
    assert (await client.get(f"{PATH}/{batch['id']}")).status_code == 404
    assert files_in(tmp_path) == []


async def test_batches_are_listed_newest_first_page_by_page(client: httpx2.AsyncClient) -> None:
    made = [(await send(client, texts(1)))["id"] for _ in range(3)]
    page = (await client.get(PATH, params={"limit": 2})).json()
    rest = (await client.get(PATH, params={"limit": 2, "after": page["last_id"]})).json()
    ids = [batch["id"] for batch in page["data"] + rest["data"]]
    assert sorted(ids) == sorted(made)
    assert ids == sorted(ids, reverse=True)
    assert (page["has_more"], rest["has_more"], page["first_id"]) == (True, False, ids[0])


async def test_another_tenants_batch_does_not_exist(connect: Connect, tmp_path: Path) -> None:
    async with connect(batches_dir=tmp_path, api_keys=KEYS) as client:
        batch = await send(client, texts(1), **SHOP)
        await ended(client, batch["id"], **SHOP)
        own = (await client.get(PATH, headers=SHOP)).json()["data"]
        others = (await client.get(PATH, headers=FORUM)).json()["data"]
        at = f"{PATH}/{batch['id']}"
        answers = [
            await client.get(at, headers=FORUM),
            await client.get(f"{at}/results", headers=FORUM),
            await client.post(f"{at}/cancel", headers=FORUM),
            await client.delete(at, headers=FORUM),
            await client.get(f"{PATH}/batch_{'0' * 24}", headers=SHOP),
            await client.get(f"{PATH}/batch_..%2f..", headers=SHOP),
        ]
        keyless = await client.get(at)
    assert ([one["id"] for one in own], others) == ([batch["id"]], [])
    assert [answer.status_code for answer in answers] == [404] * 6
    assert {answer.json()["error"]["code"] for answer in answers[:5]} == {"unknown_batch"}
    assert keyless.status_code == 401


async def test_lines_are_judged_and_recorded_as_their_key_would_have_it(
    connect: Connect, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    async with connect(
        batches_dir=tmp_path / "batches", api_keys=KEYS, audit_log=str(audit)
    ) as client:
        batch = await send(client, jsonl({"custom_id": "a/1", "input": "x"}), **SHOP)
        await ended(client, batch["id"], **SHOP)
    (line,) = [line for path in audit.glob("*.jsonl") for line in path.read_text().splitlines()]
    entry = json.loads(line)
    assert (entry["route"], entry["tenant"], entry["key_id"]) == (
        "batches",
        "shop",
        "environment-1",
    )
    assert (entry["caller_id"], entry["request_id"]) == ("a/1", f"{batch['id']}.1")


async def test_without_a_folder_there_are_no_batches(connect: Connect) -> None:
    async with connect() as client:
        answers = [
            await client.post(PATH, content=texts(1), headers=NDJSON),
            await client.get(PATH),
            await client.get(f"{PATH}/batch_{'0' * 24}/results"),
        ]
    assert {(one.status_code, one.json()["error"]["code"]) for one in answers} == {
        (404, "no_batches")
    }


@pytest.mark.parametrize(
    ("settings", "body", "status", "code"),
    [
        ({"batches_max_lines": 3}, texts(4), 400, "too_many_lines"),
        ({"batches_max_bytes": 1024}, texts(100), 413, "body_too_large"),
        ({"batches_max_spool_bytes": 1024}, texts(100), 507, "batch_storage_full"),
        ({}, b"", 400, "invalid_body"),
        ({}, b" \n\r\n", 400, "invalid_body"),
    ],
    ids=["lines", "bytes", "folder", "nothing", "blank"],
)
async def test_a_batch_out_of_bounds_is_refused_and_leaves_nothing(
    connect: Connect,
    tmp_path: Path,
    settings: dict[str, Any],
    body: bytes,
    status: int,
    code: str,
) -> None:
    async with connect(batches_dir=tmp_path, **settings) as client:
        for _ in range(2):  # nor does it use anything up
            response = await client.post(PATH, content=body, headers=NDJSON)
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert files_in(tmp_path) == []


async def test_a_tenant_has_so_many_unfinished_batches_and_others_have_theirs(
    connect: Connect, tmp_path: Path
) -> None:
    engine = Held()
    async with connect(
        engine=engine, batches_dir=tmp_path, api_keys=KEYS, batches_max_open=2
    ) as client:
        for _ in range(2):
            batch = await send(client, texts(1), **SHOP)
        refused = await client.post(PATH, content=texts(1), headers=NDJSON | SHOP)
        await send(client, texts(1), **FORUM)
        engine.go.set()
        await ended(client, batch["id"], **SHOP)
        await send(client, texts(1), **SHOP)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_batches")
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([("picture", ("a.png", b"x"))], "invalid_field"),
        ([("file", (None, "no file"))], "invalid_field"),
        ([("requests", ("a", b"{}")), ("requests", ("b", b"{}"))], "invalid_field"),
        ([("file", ("a.png", b"x")), ("sightward", (None, "{"))], "invalid_field"),
        ([("file", ("a.png", b"x")), ("sightward", (None, '{"ids": ["a"]}'))], "invalid_field"),
        ([("file", ("a.png", b"x")), ("sightward", (None, '{"detial": true}'))], "invalid_field"),
        ([("note", (None, "nothing else"))], "invalid_body"),
    ],
    ids=["field", "no file", "lines twice", "json", "ids", "misspelt", "nothing"],
)
async def test_an_unusable_form_is_refused_whole(
    client: httpx2.AsyncClient, tmp_path: Path, fields: Any, code: str
) -> None:
    response = await client.post(PATH, files=fields)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert files_in(tmp_path) == []


async def test_a_form_that_is_cut_short_is_refused(client: httpx2.AsyncClient) -> None:
    whole = client.build_request("POST", PATH, files=[("file", ("a.png", b"x" * 100))])
    headers = {"content-type": whole.headers["content-type"]}
    response = await client.post(PATH, content=whole.read()[:-10], headers=headers)
    assert response.json()["error"]["code"] == "invalid_body"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
async def test_other_content_types_are_refused(
    client: httpx2.AsyncClient, content_type: str
) -> None:
    response = await client.post(PATH, content=texts(1), headers={"content-type": content_type})
    assert response.json()["error"]["code"] == "unsupported_content_type"


async def test_an_upload_is_not_kept_in_memory(connect: Connect, tmp_path: Path) -> None:
    size = 96 * 1024 * 1024
    piece = b"x" * 65536

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    async with connect(batches_dir=tmp_path, batches_max_bytes=size) as client:
        tracemalloc.start()
        try:
            response = await client.post(PATH, content=body(), headers=NDJSON)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert response.status_code == 200
        await ended(client, response.json()["id"])
        (line,) = await results(client, response.json()["id"])
    assert line["error"]["code"] == "body_too_large"
    assert peak_bytes < size / 8


def test_a_client_that_leaves_while_sending_leaves_nothing(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    with serve(batches_dir=tmp_path) as base_url:
        host, _, port = base_url.removeprefix("http://").removesuffix("/v1").partition(":")
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(
                f"POST {PATH} HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n"
                "content-type: application/x-ndjson\r\n\r\n{}".encode()
            )
            while not files_in(tmp_path, "input"):
                pass
        while files_in(tmp_path):
            pass


async def test_batches_wait_while_a_model_is_missing_and_go_on_after(
    connect: Connect, tmp_path: Path
) -> None:
    engine = Held()
    async with connect(engine=engine, batches_dir=tmp_path) as client:
        batch = await send(client, texts(3))
        await engine.was_asked.wait()
        engine.die()
        engine.go.set()
        shown = batch
        while shown["waiting_for"] != "model":
            shown = (await client.get(f"{PATH}/{batch['id']}")).json()
        done = await ended(client, batch["id"])
        answers = by_id(await results(client, batch["id"]))
    assert shown["status"] == "in_progress"
    assert done["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert {one["response"]["results"][0]["flagged"] for one in answers.values()} == {False}


async def test_what_was_not_judged_is_when_the_server_starts_again(
    connect: Connect, tmp_path: Path
) -> None:
    engine = Held()
    engine.go.set()
    async with connect(engine=engine, batches_dir=tmp_path, batches_lines_at_once=1) as client:
        batch = await send(client, texts(30))
        while len(await results(client, batch["id"])) < 5:
            pass
    first = len(engine.questions)
    async with connect(batches_dir=tmp_path) as client:
        done = await ended(client, batch["id"])
        answers = by_id(await results(client, batch["id"]))
    assert done["status"] == "completed"
    assert answers.keys() == {f"t{n}" for n in range(30)}
    assert 5 <= first <= 30


async def test_two_servers_share_the_work_batch_by_batch(connect: Connect, tmp_path: Path) -> None:
    engines = StubEngine(), StubEngine()
    settings = {"batches_dir": tmp_path, "cache": "off"}
    async with (
        connect(engine=engines[0], **settings) as one,
        connect(engine=engines[1], **settings) as other,
    ):
        batches = [await send(client, texts(5)) for client in (one, other, one, other)]
        for batch in batches:
            done = await ended(one, batch["id"])
            assert done == await ended(other, batch["id"])
            assert len(by_id(await results(other, batch["id"]))) == 5
    asked = [question for engine in engines for question in engine.questions]
    probes = len(asked) // 20
    assert len(asked) == 20 * probes, "a line was judged by both"


async def test_a_draining_server_takes_none(connect: Connect, tmp_path: Path) -> None:
    async with connect(batches_dir=tmp_path) as client:
        client._transport.app.state.services.lifecycle.drain()
        response = await client.post(PATH, content=texts(1), headers=NDJSON)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "server_draining")


async def test_uploading_counts_as_a_call_and_asking_does_not(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect(batches_dir=tmp_path, rate_limit="1/minute") as client:
        batch = await send(client, texts(1))
        second = await client.post(PATH, content=texts(1), headers=NDJSON)
        for _ in range(3):
            assert (await client.get(PATH)).status_code == 200
        await ended(client, batch["id"])
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_identical_pictures_of_a_batch_are_asked_about_once(
    client: httpx2.AsyncClient, engine: StubEngine
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "white").save(buffer, "PNG")
    files = [("file", (f"{n}.png", buffer.getvalue(), "image/png")) for n in range(6)]
    batch = (await client.post(PATH, files=files)).json()
    await ended(client, batch["id"])
    assert len(await results(client, batch["id"])) == 6
    assert len(engine.questions) == 1
