"""One request under load, and how it ended: answered, refused, in error, or cancelled.

A refusal may be tried again and says so (429, or 503 with `retry-after`): the service kept its word
to those it took in. Cancelled is what was not answered in time: we gave up, or the service did at
a deadline (504). Everything else is an error, a broken connection too.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from benchmarks.load.wire import LostError, Reply, Sender

MODERATIONS_PATH = "/v1/moderations"

End = Literal["ok", "refused", "error", "cancelled"]
ENDS: tuple[End, ...] = ("ok", "refused", "error", "cancelled")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one request; times by `time.monotonic`.

    `due_s` is when it was to be sent: latency counts from then. In a closed loop, where nothing is
    due before a client is free, it is `sent_s`. `code` is an error's own word, or what broke.
    """

    due_s: float
    sent_s: float
    ended_s: float
    end: End
    status: int | None = None
    code: str | None = None
    body: bytes = b""

    @property
    def latency_ms(self) -> float:
        """From when it was due to its end."""
        return (self.ended_s - self.due_s) * 1000

    @property
    def service_ms(self) -> float:
        """From when it was sent to its end: without what it waited for in the client."""
        return (self.ended_s - self.sent_s) * 1000


async def send(
    sender: Sender, body: bytes, *, give_up_s: float, due_s: float | None = None
) -> Sent:
    """Ask for one moderation; never raises for what the service did. Nothing is retried."""
    sent_s = time.monotonic()
    due_s = sent_s if due_s is None else due_s
    left_s = due_s + give_up_s - sent_s
    try:
        async with asyncio.timeout(left_s):
            reply = await sender.request("POST", MODERATIONS_PATH, body)
    except TimeoutError:
        return Sent(due_s, sent_s, time.monotonic(), "cancelled", code="gave_up")
    except LostError as error:
        code = "broken_off" if error.is_sent else "not_connected"
        return Sent(due_s, sent_s, time.monotonic(), "error", code=code)
    return _read(reply, due_s, sent_s)


def _read(reply: Reply, due_s: float, sent_s: float) -> Sent:
    ended_s = time.monotonic()
    if reply.status == HTTPStatus.OK:
        return Sent(due_s, sent_s, ended_s, "ok", reply.status, body=reply.body)
    return Sent(
        due_s,
        sent_s,
        ended_s,
        end_of(reply.status, reply.headers),
        reply.status,
        error_code(reply.body) or str(reply.status),
    )


def end_of(status: int, headers: Mapping[str, str]) -> End:
    """What a status means; header names in lower case."""
    if status == HTTPStatus.OK:
        return "ok"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "refused"
    if status == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" in headers:
        return "refused"
    return "cancelled" if status == HTTPStatus.GATEWAY_TIMEOUT else "error"


def error_code(body: bytes) -> str | None:
    """The error's own word, in the shape of OpenAI's errors; None without one."""
    try:
        error: Any = json.loads(body)["error"]
        code = error["code"] or error["type"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(code) if code else None
