"""What is known of one request, and the one line it leaves in the log.

It never holds picture bytes, base64, texts, web addresses or keys: what was asked is the caller's,
only how it went is ours.
"""

from collections import Counter as Tally
from dataclasses import dataclass, field
from typing import Any

import structlog


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request by the time it is logged; filled in along the way."""

    request_id: str
    method: str
    route: str = "unmatched"
    status: int = 0
    duration_ms: float = 0.0
    error_code: str | None = None
    key_id: str | None = None
    trace_id: str | None = None
    known: int = 0
    texts: int = 0
    images: int = 0
    decode_ms: float | None = None
    engine_ms: float | None = None
    model_version: str | None = None
    hint: str | None = None
    answer_tokens: int | None = None
    outcomes: Tally[str] = field(default_factory=Tally)

    def log(self, exception: Exception | None = None) -> None:
        """Write the line; with a traceback when the request failed in a way nobody foresaw."""
        line: dict[str, Any] = {
            "request_id": self.request_id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "duration_ms": round(self.duration_ms, 1),
        }
        if self.error_code is not None:
            line["error_code"] = self.error_code
        if self.key_id is not None:
            line["key_id"] = self.key_id
        if self.trace_id is not None:
            line["trace_id"] = self.trace_id
        if self.texts or self.images:
            line |= {"texts": self.texts, "images": self.images}
        if self.known:
            line["known"] = self.known
        if self.outcomes:
            line |= {"outcomes": dict(self.outcomes), "model_version": self.model_version}
        if self.hint is not None:
            line["hint"] = self.hint
        if self.answer_tokens is not None:
            line["answer_tokens"] = self.answer_tokens
        for name in ("decode_ms", "engine_ms"):
            duration_ms = getattr(self, name)
            if duration_ms is not None:
                line[name] = round(duration_ms, 1)
        logger = structlog.get_logger("server")
        if exception is not None:
            logger.error("request", **line, exc_info=exception)
        else:
            logger.info("request", **line)
