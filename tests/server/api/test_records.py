"""Verdicts on record, reviews over HTTP, and the way back to training."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.concepts.policy import POLICY_FILE
from server.engine.protocol import Answer
from server.engine.stub import StubEngine
from server.errors import AuditLogError
from server.record.folder_store import FolderStore

Connect = Callable[..., Any]
ADMIN = {"authorization": "Bearer admin-key"}
CALLER = {"authorization": "Bearer caller-key"}
KEYS = ",".join(
    f"sha256:{hashlib.sha256(key).hexdigest()}:{scopes}"
    for key, scopes in ((b"admin-key", "moderate+admin"), (b"caller-key", "moderate:shop"))
)


def unsure() -> StubEngine:
    """Everything is 0.4 unsafe: to be reviewed."""
    return StubEngine(Answer({"yes": 0.6, "no": 0.4}))


async def judge(client: httpx2.AsyncClient, picture: bytes, **options: Any) -> Any:
    response = await client.post(
        "/v1/moderations",
        files=[("file", ("a.png", picture, "image/png"))],
        data={"sightward": json.dumps(options)},
        headers=CALLER,
    )
    assert response.status_code == 200, response.text
    return response


def lines(folder: Path) -> list[dict[str, Any]]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


async def test_a_verdict_is_on_record_with_all_that_explains_it_and_no_picture(
    connect: Connect, tmp_path: Path, unsafe_png: bytes
) -> None:
    async with connect(audit_log=str(tmp_path), api_keys=KEYS) as client:
        response = await judge(client, unsafe_png, detail=True, ids=["album/7.png"])

    (entry,) = lines(tmp_path)
    detail = response.json()["results"][0]["sightward"]
    assert entry["answer_id"] == response.json()["id"]
    assert entry["request_id"] == response.headers["x-request-id"]
    assert (entry["tenant"], entry["key_id"]) == ("shop", "environment-2")
    assert entry["caller_id"] == "album/7.png"
    assert [entry["fingerprint"]] == detail["fingerprints"]
    for name in ("action", "outcome", "p_unsafe", "categories", "model_version", "policy_version"):
        assert entry[name] == detail[name]
    assert not any(isinstance(value, str) and len(value) > 500 for value in entry.values())


async def test_a_text_is_recorded_without_its_words_or_anything_made_of_them(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect(audit_log=str(tmp_path)) as client:
        await client.post("/v1/moderations", json={"input": "a secret attack"})

    (entry,) = lines(tmp_path)
    assert "secret" not in json.dumps(entry)
    assert (entry["modality"], entry["fingerprint"]) == ("text", None)


async def test_every_input_has_an_entry_of_its_own_and_knows_the_answers_action(
    connect: Connect, tmp_path: Path
) -> None:
    body = {"input": ["fine", "attack", "mumble"], "sightward": {"ids": ["a", "b", "c"]}}
    merged = {"input": [{"type": "text", "text": text} for text in ("fine", "attack")]}
    async with connect(audit_log=str(tmp_path)) as client:
        await client.post("/v1/moderations", json=body)
        await client.post("/v1/moderations", json=merged)

    found = [(one["caller_id"], one["action"], one["answer_action"]) for one in lines(tmp_path)]
    assert found == [
        ("a", "allow", "allow"),
        ("b", "block", "block"),
        ("c", "review", "review"),
        (None, "allow", "block"),
        (None, "block", "block"),
    ]


async def test_an_input_that_was_refused_alone_is_recorded_as_such(
    connect: Connect, tmp_path: Path
) -> None:
    files = [("file", ("a.png", b"no picture", "image/png"))]
    async with connect(audit_log=str(tmp_path)) as client:
        await client.post("/v1/moderations", files=files, data={"sightward": '{"per_input": true}'})

    (entry,) = lines(tmp_path)
    assert (entry["error"], entry["outcome"]) == ("unsupported_image_format", "undetermined")


@pytest.mark.parametrize("ids", [["a", "b"], [], [""]])
async def test_ids_that_name_other_inputs_are_refused(
    client: httpx2.AsyncClient, ids: list[str]
) -> None:
    body = {"input": "fine", "sightward": {"ids": ids}}
    response = await client.post("/v1/moderations", json=body)

    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("sightward.ids")


@pytest.mark.parametrize(("audit_failure", "status"), [("continue", 200), ("error", 503)])
async def test_a_full_disk_fails_calls_only_where_the_policy_says_so(
    connect: Connect,
    tmp_path: Path,
    safe_png: bytes,
    monkeypatch: pytest.MonkeyPatch,
    audit_failure: str,
    status: int,
) -> None:
    path = tmp_path / "policy.json"
    shipped = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    path.write_text(json.dumps(shipped | {"audit_failure": audit_failure}), encoding="utf-8")

    def full(*_: object) -> None:
        raise AuditLogError("No space left on device")

    monkeypatch.setattr(FolderStore, "append", full)
    async with connect(audit_log=str(tmp_path / "log"), policy=path) as client:
        response = await client.post(
            "/v1/moderations", files=[("file", ("a.png", safe_png, "image/png"))]
        )
        metrics = (await client.get("/metrics")).text

    assert response.status_code == status
    assert 'sightward_audit_entries_total{result="failed"} 1.0' in metrics


async def test_what_is_to_be_reviewed_waits_until_it_is_decided(
    connect: Connect, tmp_path: Path, safe_png: bytes, png: Callable[[str], bytes]
) -> None:
    async with connect(audit_log=str(tmp_path), api_keys=KEYS, engine=unsure()) as client:
        for picture in (safe_png, png("red")):
            await judge(client, picture)
        page = (await client.get("/v1/reviews?limit=1", headers=ADMIN)).json()
        first = page["data"][0]["verdict"]
        decided = await client.post(
            f"/v1/reviews/{first['id']}",
            json={"label": "Unsafe", "concept": "Arson", "note": "clear"},
            headers=ADMIN,
        )
        still_open = (await client.get("/v1/reviews", headers=ADMIN)).json()
        done = (await client.get("/v1/reviews?status=decided", headers=ADMIN)).json()

    assert page["has_more"]
    assert decided.status_code == 200
    assert decided.json()["decision"]["category"] == "Illegal activity"
    assert decided.json()["decision"]["key_id"] == "environment-1"
    assert [one["verdict"]["id"] != first["id"] for one in still_open["data"]] == [True]
    assert [one["verdict"]["id"] for one in done["data"]] == [first["id"]]


@pytest.mark.parametrize(
    "decision",
    [
        {},
        {"label": "Maybe"},
        {"label": "Safe", "category": "Hate"},
        {"label": "Unsafe", "category": "Litter"},
        {"label": "Unsafe", "category": "Hate", "concept": "Arson"},
        {"label": "Unsafe", "colour": "red"},
    ],
)
async def test_an_impossible_decision_is_refused(
    connect: Connect, tmp_path: Path, decision: dict[str, str]
) -> None:
    async with connect(audit_log=str(tmp_path), api_keys=KEYS) as client:
        response = await client.post("/v1/reviews/x", json=decision, headers=ADMIN)

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_reviews_are_for_administrators_and_need_a_log(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect(audit_log=str(tmp_path), api_keys=KEYS) as client:
        assert (await client.get("/v1/reviews", headers=CALLER)).status_code == 403
        unknown = await client.post("/v1/reviews/x", json={"label": "Safe"}, headers=ADMIN)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_review")
    async with connect(api_keys=KEYS) as client:
        missing = await client.get("/v1/reviews", headers=ADMIN)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_audit_log")


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_copy_of_a_picture_is_kept_only_if_wanted_and_only_to_be_reviewed(
    connect: Connect, tmp_path: Path, safe_png: bytes, is_kept: bool
) -> None:
    kept = tmp_path / "kept"
    settings = {"keep_images": kept} if is_kept else {}
    async with connect(
        audit_log=str(tmp_path / "log"), api_keys=KEYS, engine=unsure(), **settings
    ) as client:
        await judge(client, safe_png)
    async with connect(audit_log=str(tmp_path / "log"), api_keys=KEYS, **settings) as client:
        await judge(client, safe_png)

    to_review, allowed = lines(tmp_path / "log")
    assert (to_review["action"], to_review["is_kept"]) == ("review", is_kept)
    assert (allowed["action"], allowed["is_kept"]) == ("allow", False)
    names = [path.name for path in kept.glob("*")] if is_kept else []
    assert names == ([f"{to_review['fingerprint']}.png"] if is_kept else [])
    assert kept.exists() == is_kept
