"""Refuses calls of keys that made theirs already, before a byte of their bodies is read."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.errors import error_response, rule_for
from server.api.keys import ANYONE, KeyHolder
from server.api.rate_limits import RateLimits
from server.errors import RateLimitError
from server.telemetry import Metrics


class RateLimitMiddleware:
    """Counts calls to `paths` for whoever sends them, as `ApiKeyMiddleware` found."""

    def __init__(
        self, app: ASGIApp, *, limits: RateLimits, metrics: Metrics, paths: Collection[str]
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "http" and scope["method"] != "GET" and scope["path"] in self._paths:
            holder: KeyHolder = scope["state"]["key_holder"]
            try:
                await self._limits.count(holder, address=_address(scope, holder))
            except RateLimitError as error:
                self._metrics.refusals.labels(rule_for(error).code).inc()
                await error_response(scope, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _address(scope: Scope, holder: KeyHolder) -> str:
    """Where an unnamed caller calls from; nothing for a key, which counts wherever it is used."""
    client = scope.get("client")
    return str(client[0]) if holder is ANYONE and client else ""
