"""What ``/openapi.json`` says beyond what the framework reads off the routes.

Which paths need a key, and that a refused request is answered in our shape, never in the
framework's own.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from server.api.key_middleware import Guarded, needed_scope

_KEY = "key"
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")


def document(app: FastAPI, *, guarded: tuple[Guarded, ...], is_open: bool) -> None:
    """Have `app` describe itself so; with `is_open` keys are known but nobody needs one."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, guarded, is_open=is_open)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the framework's documented way


def _described(app: FastAPI, guarded: tuple[Guarded, ...], *, is_open: bool) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    components = found.setdefault("components", {})
    components["securitySchemes"] = {
        _KEY: {"type": "http", "scheme": "bearer", "description": "A key of this server's."}
    }
    for name in _FRAMEWORKS_OWN:
        components.get("schemas", {}).pop(name, None)
    for path, operations in found["paths"].items():
        scope = needed_scope(path, guarded)
        for operation in operations.values():
            _without_the_frameworks_refusal(operation)
            if scope is not None:
                # Nobody administers without a key, even where everyone may ask.
                is_optional = is_open and scope != "admin"
                operation["security"] = [*([{}] if is_optional else []), {_KEY: []}]
    return found


def _without_the_frameworks_refusal(operation: dict[str, Any]) -> None:
    refusal = operation["responses"].get("422", {})
    schema = refusal.get("content", {}).get("application/json", {}).get("schema", {})
    if schema.get("$ref", "").endswith(_FRAMEWORKS_OWN):
        del operation["responses"]["422"]
