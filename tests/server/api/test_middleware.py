import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from structlog.testing import capture_logs

from server.engine.stub import StubEngine

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

BODY = {"input": "a lake"}


async def test_a_sound_request_id_comes_back(client: httpx2.AsyncClient) -> None:
    headers = {"x-request-id": "trace-1.a_B"}
    response = await client.post("/v1/moderations", json=BODY, headers=headers)
    assert response.headers["x-request-id"] == "trace-1.a_B"


@pytest.mark.parametrize("given", [None, "", "a b", "a\tb", "<script>", "x" * 129, "\u00fc"])
async def test_any_other_request_id_is_replaced(
    client: httpx2.AsyncClient, given: str | None
) -> None:
    headers = [] if given is None else [(b"x-request-id", given.encode("latin-1"))]
    response = await client.get("/livez", headers=headers)
    assert re.fullmatch(r"req-[0-9a-f]{32}", response.headers["x-request-id"])


async def test_errors_carry_a_request_id_too(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/nowhere")).headers["x-request-id"].startswith("req-")


async def test_without_configured_keys_everyone_is_let_in(client: httpx2.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer anything"}):
        response = await client.post("/v1/moderations", json=BODY, headers=headers)
        assert response.status_code == 200


async def test_with_keys_only_they_are_let_in(connect: Connect, engine: StubEngine) -> None:
    async with connect(api_keys="first-key, second-key") as client:
        for key in ("Bearer first-key", "bearer second-key"):
            headers = {"authorization": key}
            response = await client.post("/v1/moderations", json=BODY, headers=headers)
            assert response.status_code == 200
        asked = len(engine.questions)
        for authorization in (
            None,
            "",
            "Bearer",
            "Bearer first",
            "Bearer first-key2",
            "Basic first-key",
            "first-key",
            "Bearer \u00fcmlaut",
        ):
            headers = {} if authorization is None else {b"authorization": authorization.encode()}
            for path in ("/v1/moderations", "/v1/nowhere"):
                response = await client.post(path, json=BODY, headers=headers)
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
        assert len(engine.questions) == asked
        assert (await client.get("/v1/models")).status_code == 401
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200


async def test_a_declared_length_over_the_limit_is_refused_unread(connect: Connect) -> None:
    async def never_read() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    async with connect(max_body_bytes=2_000) as client:
        headers = {"content-length": "2001", "content-type": "application/json"}
        response = await client.post("/v1/moderations", content=never_read(), headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"


async def test_an_undeclared_length_is_counted_while_it_arrives(
    serve: Callable[..., object],
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1_000
            yield b" " * 1_000

    with serve(max_body_bytes=2_000) as base_url:  # type: ignore[attr-defined]
        async with httpx2.AsyncClient() as client:
            headers = {"content-type": "application/json"}
            response = await client.post(
                f"{base_url}/moderations", content=endless(), headers=headers
            )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


async def test_a_body_of_exactly_the_limit_is_read(connect: Connect) -> None:
    body = b'{"input": "a lake"}'.ljust(2_000)
    async with connect(max_body_bytes=2_000) as client:
        headers = {"content-type": "application/json"}
        response = await client.post("/v1/moderations", content=body, headers=headers)
        assert response.status_code == 200
        response = await client.post("/v1/moderations", content=body + b" ", headers=headers)
        assert response.status_code == 413


async def test_one_line_a_request_without_what_was_asked(
    client: httpx2.AsyncClient, safe_png: bytes, image_part: Callable[[bytes], dict[str, object]]
) -> None:
    picture = image_part(safe_png)
    parts = [picture, {"type": "text", "text": "my-secret-text"}]
    headers = {"authorization": "Bearer my-secret-key", "x-request-id": "trace-7"}
    with capture_logs() as logs:
        await client.post("/v1/moderations?token=my-secret", json={"input": parts}, headers=headers)
    (line,) = logs
    assert line["event"] == "request"
    assert line["request_id"] == "trace-7"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/moderations", 200)
    assert (line["texts"], line["images"], line["outcomes"]) == (1, 1, {"safe": 1})
    assert line["model_version"].startswith("stub-vlm@")
    assert min(line["duration_ms"], line["decode_ms"], line["engine_ms"]) >= 0
    assert "my-secret" not in str(line)
    assert "iVBOR" not in str(line)


async def test_a_refused_request_is_logged_with_its_code(client: httpx2.AsyncClient) -> None:
    url = "https://user:my-secret@example.com/?sig=my-secret"
    part = {"type": "image_url", "image_url": {"url": url}}
    with capture_logs() as logs:
        response = await client.post("/v1/moderations", json={"input": [part]})
    assert "my-secret" not in response.text
    (line,) = logs
    assert (line["status"], line["error_code"]) == (400, "url_fetch_disabled")
    assert "my-secret" not in str(line)
