import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

BOUNDARY = "limit"


def form(*parts: tuple[str, bytes], ending: bytes = b"--limit--\r\n") -> dict[str, Any]:
    """A hand-written form: each part is its disposition's parameters and its content."""
    body = b"".join(
        b"--limit\r\nContent-Disposition: form-data; "
        + head.encode()
        + b"\r\n\r\n"
        + data
        + b"\r\n"
        for head, data in parts
    )
    return {
        "content": body + ending,
        "headers": {"content-type": f"multipart/form-data; boundary={BOUNDARY}"},
    }


def code_of(response: httpx2.Response) -> str:
    assert response.status_code == 400, response.text
    return str(response.json()["error"]["code"])


async def test_several_files_and_texts_are_merged(
    client: httpx2.AsyncClient, safe_png: bytes, unsafe_png: bytes
) -> None:
    files = [("file", ("a.png", safe_png)), ("file", ("b.png", unsafe_png))]
    response = await client.post("/v1/moderations", files=files, data={"input": "a lake"})
    (result,) = response.json()["results"]
    assert result["flagged"] is True
    assert result["category_applied_input_types"]["violence"] == ["text", "image"]


async def test_options_and_model_are_form_fields(
    client: httpx2.AsyncClient, safe_png: bytes, unsafe_png: bytes
) -> None:
    options = json.dumps({"per_input": True, "detail": True})
    response = await client.post(
        "/v1/moderations",
        **form(
            ('name="model"', b"omni-moderation-latest"),
            ('name="file"; filename="a"', unsafe_png),
            ('name="input"', "ein See, ein Weiher: \u00fc".encode()),
            ('name="file"; filename="b"', safe_png),
            ('name="sightward"', options.encode()),
        ),
    )
    results = response.json()["results"]
    assert [result["flagged"] for result in results] == [True, False, False]
    assert [result["category_applied_input_types"]["hate"] for result in results] == [
        ["image"],
        ["text"],
        ["image"],
    ]
    assert results[0]["sightward"]["outcome"] == "unsafe"


async def test_a_bad_file_is_named_by_its_place(
    client: httpx2.AsyncClient, safe_png: bytes
) -> None:
    parts = [
        ('name="file"; filename="a"', safe_png),
        ('name="input"', b"a lake"),
        ('name="file"; filename="b"', safe_png[:40]),
    ]
    response = await client.post("/v1/moderations", **form(*parts))
    assert code_of(response) == "truncated_image"
    assert response.json()["error"]["param"] == "file[1]"
    parts.append(('name="sightward"', b'{"per_input": true}'))
    results = (await client.post("/v1/moderations", **form(*parts))).json()["results"]
    assert [result["flagged"] for result in results] == [False, False, True]
    assert results[2]["sightward"]["error"]["param"] == "file[1]"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "invalid_field"),
        ([('name="model"', b"x")], "invalid_field"),
        ([('name="file"', b"not a file")], "invalid_field"),
        ([('name="image"; filename="a"', b"ignored?")], "invalid_field"),
        ([('name="input"; filename="a"', b"text")], "invalid_field"),
        ([('name="input"', b"")], "invalid_field"),
        ([('name="input"', b"a"), ('name="sightward"', b"{")], "invalid_field"),
        ([('name="input"', b"a"), ('name="sightward"', b'{"detial": true}')], "invalid_field"),
        ([('name="input"', b"a"), ('name="sightward"', b'{"detail": NaN}')], "invalid_field"),
        ([('name="input"', b"a"), ('name="sightward"', b"{}")] * 2, "invalid_field"),
        ([('name="input"', b"a"), ('name="sightward"; filename="x"', b"{}")], "invalid_field"),
        ([('name="file"; filename="a"', b"")], "empty_image"),
        ([('name="file"; filename="a"', b"no image")], "unsupported_image_format"),
        ([("", b"nameless")], "invalid_body"),
    ],
)
async def test_forms_that_are_refused(
    client: httpx2.AsyncClient, parts: list[tuple[str, bytes]], code: str
) -> None:
    assert code_of(await client.post("/v1/moderations", **form(*parts))) == code


async def test_a_form_without_its_end_is_refused_and_not_judged_in_part(
    client: httpx2.AsyncClient, safe_png: bytes
) -> None:
    whole = form(('name="file"; filename="a"', safe_png), ('name="file"; filename="b"', safe_png))
    for cut in (3, 20, len(safe_png), len(safe_png) + 60):
        cut_short = {**whole, "content": whole["content"][:-cut]}
        assert code_of(await client.post("/v1/moderations", **cut_short)) == "invalid_body"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=limit; charset=nonsense",
    ],
)
async def test_forms_with_a_bad_content_type(client: httpx2.AsyncClient, content_type: str) -> None:
    sent = form(('name="model"', b"x"))
    sent["headers"] = {"content-type": content_type}
    assert code_of(await client.post("/v1/moderations", **sent)) in {
        "invalid_body",
        "invalid_field",
    }


async def test_uploads_obey_the_limits(connect: Connect, safe_png: bytes) -> None:
    file = ('name="file"; filename="a"', safe_png)
    async with connect(max_images=2, max_inputs=3, max_image_bytes=len(safe_png)) as client:
        assert (await client.post("/v1/moderations", **form(file, file))).status_code == 200
        response = await client.post("/v1/moderations", **form(file, file, file))
        assert response.status_code == 400
        larger = ('name="file"; filename="a"', safe_png + b"x")
        response = await client.post("/v1/moderations", **form(larger))
        assert code_of(response) == "image_too_large"


async def test_a_long_text_field_is_a_text_and_no_form_error(connect: Connect) -> None:
    async with connect(max_text_chars=2_000_000) as client:
        text = b"a lake " * 200_000
        response = await client.post("/v1/moderations", **form(('name="input"', text)))
        assert response.status_code == 200
