"""Who may ask for what: every guarded path needs a key with its scope."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.errors import error_response
from server.api.key_ring import KeyRing
from server.api.keys import Scope as KeyScope
from server.api.request_record import record_of
from server.errors import ApiKeyError, KeyScopeError, SightwardError

Guarded = tuple[str, KeyScope]
"""A path, all paths below it if it ends in a slash, and the scope that is needed there."""


def guarded_paths(*, with_metrics: bool) -> tuple[Guarded, ...]:
    """What needs which scope; the first that fits counts.

    Probes stay open, and metrics if they are to: whoever runs the service keeps them off the public
    network.
    """
    metrics: tuple[Guarded, ...] = (("/metrics", "metrics"),) if with_metrics else ()
    return (
        *metrics,
        ("/v1/admin/", "admin"),
        ("/v1/reviews", "admin"),
        ("/v1/reviews/", "admin"),
        ("/v1/", "moderate"),
    )


def needed_scope(path: str, guarded: Sequence[Guarded]) -> KeyScope | None:
    """The scope that is needed at `path`; None: no key is."""
    for where, scope in guarded:
        if path == where or (where.endswith("/") and path.startswith(where)):
            return scope
    return None


class ApiKeyMiddleware:
    """Lets requests in only with a key that has the scope of their path.

    Who sent it is then ``request.state.key_holder``. The body is not read before.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing, guarded: Sequence[Guarded]) -> None:
        self._app = app
        self._keys = keys
        self._guarded = tuple(guarded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        is_http = scope["type"] == "http"
        needed = needed_scope(scope["path"], self._guarded) if is_http else None
        if needed is not None:
            refusal = self._refusal(scope, needed)
            if refusal is not None:
                await error_response(scope, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, needed: KeyScope) -> SightwardError | None:
        """Why the request is not let in; None if it is, with its holder noted."""
        holder = self._keys.holder(_bearer(Headers(scope=scope)))
        if holder is None:
            return ApiKeyError()
        record_of(scope).key_id = holder.id
        if needed not in holder.scopes:
            return KeyScopeError(scope=needed)
        scope.setdefault("state", {})["key_holder"] = holder
        return None


def _bearer(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None
