import inspect
import string
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from server import errors
from server.api.errors import ERROR_RULES, error_object, rule_for
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

EXAMPLES: dict[str, Any] = {
    "str": "words",
    "str | None": None,
    "int": 7,
    "float": 0.5,
    "tuple[str, ...]": ("a", "b"),
    "Path": Path("file"),
    "typing.Literal['not listed', 'unresolved', 'forbidden']": "forbidden",
}
ERROR_CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.SightwardError)
]


def example(cls: type[errors.SightwardError]) -> errors.SightwardError:
    """An instance with a value of the right type for each field."""
    if "__init__" not in vars(cls) and cls.__init__ is Exception.__init__:
        return cls("secret words")
    parameters = inspect.signature(cls).parameters.values()
    values = {}
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            kind = parameter.annotation
            values[parameter.name] = EXAMPLES[kind if isinstance(kind, str) else _name(kind)]
    return cls(**values)


def _name(kind: Any) -> str:
    return kind.__name__ if inspect.isclass(kind) and not hasattr(kind, "__args__") else str(kind)


@pytest.mark.parametrize("cls", ERROR_CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_class_has_an_answer(cls: type[errors.SightwardError]) -> None:
    error = example(cls)
    rule = rule_for(error)
    shown = error_object(error)
    assert shown.code == rule.code
    assert shown.message
    assert "{" not in shown.message
    kinds = {429: "rate_limit_error"} | dict.fromkeys(range(500, 600), "server_error")
    assert rule.type == kinds.get(rule.status, "invalid_request_error")
    if rule.status >= 500:
        assert "words" not in shown.message


@pytest.mark.parametrize("cls", ERROR_RULES, ids=lambda cls: cls.__name__)
def test_every_message_names_only_fields_the_error_has(
    cls: type[errors.SightwardError],
) -> None:
    named = {
        field for _, field, _, _ in string.Formatter().parse(ERROR_RULES[cls].message) if field
    }
    known = set(vars(example(cls))) | {"supported_names"}
    assert named <= known


def test_image_and_request_errors_are_the_callers_and_each_has_its_own_code() -> None:
    leaves = [cls for cls in ERROR_CLASSES if not cls.__subclasses__()]
    concerned = [cls for cls in leaves if issubclass(cls, (errors.ImageError, errors.RequestError))]
    assert len(concerned) > 15
    for cls in concerned:
        assert cls in ERROR_RULES
        assert 400 <= ERROR_RULES[cls].status < 500
    codes = [ERROR_RULES[cls].code for cls in concerned]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/moderation", 404, "not_found"),
        ("POST", "/v1/moderations/", 404, "not_found"),
        ("GET", "/v1/moderations", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
async def test_the_frameworks_own_errors_have_the_documented_shape(
    client: httpx2.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


async def test_an_unforeseen_exception_is_logged_and_tells_the_client_nothing(
    connect: Connect,
) -> None:
    def fail(question: Question) -> Answer:
        raise RuntimeError("password=hunter2")

    async with connect(engine=StubEngine(fail)) as client:
        with capture_logs() as logs:
            response = await client.post("/v1/moderations", json={"input": "a"})
    assert response.status_code == 500
    assert response.json()["error"] == {
        "message": "The server failed on this request. Quote its x-request-id when you report it.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    assert "hunter2" not in response.text
    (line,) = [line for line in logs if line["event"] == "request"]
    assert line["log_level"] == "error"
    assert line["request_id"] == response.headers["x-request-id"]
    assert "hunter2" in str(line["exc_info"])
