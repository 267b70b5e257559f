"""One question put to the service and what became of it: five ends, of which one is an answer.

`refused` may be tried again and says so: nothing is lost. `late` is the caller's own deadline.
`failed` is any other error, `lost` no answer at all. What was answered is held against what the
picture is known to show: an unsafe one that is let through is wrong, however quick.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

from benchmarks.faults.pictures import Label, Labelled
from benchmarks.load.wire import LostError, Reply, Wire
from benchmarks.stats import Percentiles, percentiles

PATH = "/v1/moderations"

End = Literal["answered", "refused", "late", "failed", "lost"]

_RETRYABLE = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one request.

    `at_s` is when it was sent, by `time.monotonic`; an open loop's when it was due. `code` is an
    error's own word, or what broke. `action` is None unless it was answered. `source` is where
    the scores came from.
    """

    at_s: float
    latency_ms: float
    end: End
    label: Label
    status: int | None = None
    code: str | None = None
    action: str | None = None
    source: str | None = None
    policy: str | None = None

    @property
    def is_let_through(self) -> bool:
        """Whether an unsafe picture was answered with anything but a block or a review."""
        return (
            self.end == "answered"
            and self.label == "unsafe"
            and self.action not in ("block", "review")
        )


async def ask(
    wire: Wire,
    picture: Labelled,
    *,
    headers: Mapping[str, str] | None = None,
    due_s: float | None = None,
) -> Asked:
    """Send a picture and say what became of it; never raises for what the server did."""
    at_s = time.monotonic() if due_s is None else due_s
    try:
        reply = await wire.request("POST", PATH, picture.body, headers)
    except LostError as error:
        latency_ms = (time.monotonic() - at_s) * 1000
        code = "broken_off" if error.is_sent else "not_connected"
        return Asked(at_s, latency_ms, "lost", picture.label, code=code)
    # From when it was due: what an open loop sends late has been waiting all the same.
    late_too = replace(reply, latency_ms=(time.monotonic() - at_s) * 1000)
    return read_answer(late_too, picture.label, at_s)


def read_answer(reply: Reply, label: Label, at_s: float) -> Asked:
    """What an answer means. One that can't be read is a failure, never "safe"."""
    if reply.status == HTTPStatus.OK:
        try:
            result = json.loads(reply.body)["results"][0]
            detail = result["sightward"]
            action = str(detail["action"])
        except (ValueError, KeyError, IndexError, TypeError):
            return Asked(at_s, reply.latency_ms, "failed", label, reply.status, "unreadable")
        return Asked(
            at_s,
            reply.latency_ms,
            "answered",
            label,
            reply.status,
            action=action,
            source=",".join(detail.get("scores_from") or ()),
            policy=reply.headers.get("x-sightward-policy"),
        )
    code = _error_code(reply)
    end: End = "failed"
    if reply.status in _RETRYABLE and "retry-after" in reply.headers:
        end = "refused"
    elif reply.status == HTTPStatus.GATEWAY_TIMEOUT:
        end = "late"
    return Asked(at_s, reply.latency_ms, end, label, reply.status, code)


def _error_code(reply: Reply) -> str:
    try:
        error: Any = json.loads(reply.body)["error"]
        return str(error["code"])
    except (ValueError, KeyError, TypeError):
        return str(reply.status)


@dataclass(frozen=True, slots=True)
class Tally:
    """Many requests' ends, counted."""

    sent: int
    answered: int
    refused: int
    late: int
    failed: int
    lost: int
    let_through: int
    codes: Mapping[str, int]
    answer_ms: Percentiles | None
    refusal_ms: Percentiles | None


def tally(asked: Sequence[Asked]) -> Tally:
    """Count them; latencies of answers and of refusals apart."""
    ends = Counter(one.end for one in asked)
    return Tally(
        sent=len(asked),
        answered=ends["answered"],
        refused=ends["refused"],
        late=ends["late"],
        failed=ends["failed"],
        lost=ends["lost"],
        let_through=sum(one.is_let_through for one in asked),
        codes=dict(Counter(one.code for one in asked if one.code is not None)),
        answer_ms=percentiles([one.latency_ms for one in asked if one.end == "answered"]),
        refusal_ms=percentiles([one.latency_ms for one in asked if one.end == "refused"]),
    )
