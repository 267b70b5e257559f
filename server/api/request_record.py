"""Where a request's record lives while it is answered: in its ASGI scope."""

from starlette.types import Scope

from server.telemetry import RequestRecord

_KEY = "sightward.record"


def attach_record(scope: Scope, record: RequestRecord) -> None:
    """Give the request its record."""
    scope[_KEY] = record


def record_of(scope: Scope) -> RequestRecord:
    """The request's record, which the outermost middleware attached."""
    record: RequestRecord = scope[_KEY]
    return record
