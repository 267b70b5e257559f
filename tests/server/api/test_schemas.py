from typing import Any

import pytest

from server.api.schemas import parse_moderation_request
from server.errors import InvalidFieldError

TEXT = {"type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (None, None),
        ([], None),
        ("input", None),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"input": True}, "input"),
        ({"input": {}}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input[0]"),
        ({"input": [1]}, "input[0]"),
        ({"input": [None]}, "input[0]"),
        ({"input": [["a"]]}, "input[0]"),
        ({"input": ["a", TEXT]}, "input[1]"),
        ({"input": [TEXT, "a"]}, "input[1]"),
        ({"input": [TEXT, {}]}, "input[1]"),
        ({"input": [{"type": "audio", "audio": "x"}]}, "input[0]"),
        ({"input": [{"type": ["text"], "text": "x"}]}, "input[0]"),
        ({"input": [{"type": "text"}]}, "input[0].text"),
        ({"input": [{"type": "text", "text": 5}]}, "input[0].text"),
        ({"input": [{"type": "text", "text": "\ud800"}]}, "input[0].text"),
        ({"input": [{"type": "image_url"}]}, "input[0].image_url"),
        ({"input": [{"type": "image_url", "image_url": "data:"}]}, "input[0].image_url"),
        ({"input": [{"type": "image_url", "image_url": {}}]}, "input[0].image_url.url"),
        ({"input": [{"type": "image_url", "image_url": {"url": 1}}]}, "input[0].image_url.url"),
        ({"input": "\udfff"}, "input"),
        ({"input": "a", "model": 3}, "model"),
        ({"input": "a", "sightward": []}, "sightward"),
        ({"input": "a", "sightward": {"detail": "yes"}}, "sightward.detail"),
        ({"input": "a", "sightward": {"per_input": 1}}, "sightward.per_input"),
        ({"input": "a", "sightward": {"details": True}}, "sightward.details"),
    ],
)
def test_the_field_at_fault_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        parse_moderation_request(body)
    assert raised.value.param == param
    assert raised.value.problem.startswith("Invalid value at ")
    for internal in ("ModerationRequest", "ImageUrl", "Part", "function", "pydantic"):
        assert internal not in raised.value.problem


def test_a_path_the_caller_invented_is_cut() -> None:
    with pytest.raises(InvalidFieldError) as raised:
        parse_moderation_request({"input": "a", "sightward": {"x" * 5_000: True}})
    assert raised.value.param is not None
    assert len(raised.value.param) <= 200


def test_options_default_to_off_and_unknown_fields_pass() -> None:
    request = parse_moderation_request({"input": [TEXT | {"cache": 1}], "extra": {"deep": []}})
    assert not request.sightward.detail
    assert not request.sightward.per_input
