"""What an endpoint says when it turns a request down, and whose error that is."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.errors import EngineError, QuestionTooLongError, UnusableAnswerError

_MAX_MESSAGE_CHARS = 300

_FILTER = re.compile(
    r"content[ _-]?(management )?(filter|policy)|moderation|flagged|data_inspection",
    re.IGNORECASE,
)
_LOGPROBS = re.compile(r"\b(top_)?log[_ -]?prob(abilitie)?s\b", re.IGNORECASE)
_MAX_LENGTH = re.compile(
    r"maximum (?:context|model) length (?:is|of) (?:only )?(\d+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An endpoint's error, whatever its shape: `message` is one line, cut where it is long."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None

    @classmethod
    def read(cls, status: int, body: bytes, *, hide: Sequence[str] = ()) -> "Refusal":
        """Read OpenAI's shape, FastAPI's, the bare ones of others, or plain text.

        `hide` are the secrets to take out, should the endpoint repeat them.
        """
        text = body.decode(errors="replace")
        try:
            found: Any = json.loads(text)
        except ValueError:
            return cls(status, _one_line(text, hide))
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            found = found.get("error", found)
        if not isinstance(found, dict):
            return cls(status, _one_line(str(found), hide))
        detail = found.get("detail")
        if isinstance(detail, list) and detail and isinstance(detail[0], dict):
            path = detail[0].get("loc")
            param = _text(path[-1]) if isinstance(path, list) and path else None
            return cls(status, _one_line(f"{param}: {detail[0].get('msg', '')}", hide), param)
        message = found.get("message") or detail or ""
        return cls(status, _one_line(str(message), hide), _text(found.get("param")), _code(found))

    @property
    def is_filtered(self) -> bool:
        """Whether a content filter, rather than the model or its settings, said no."""
        return _FILTER.search(f"{self.code} {self.message}") is not None

    @property
    def names_logprobs(self) -> bool:
        """Whether the request for probabilities was what it refused."""
        return _LOGPROBS.search(f"{self.param} {self.message}") is not None

    def as_engine_error(self) -> EngineError:
        """The error of the one question that was turned down."""
        if self.is_filtered:
            return UnusableAnswerError(
                f"the endpoint's content filter turned the question down: {self.message}"
            )
        if (too_long := _MAX_LENGTH.search(self.message)) is not None:
            return QuestionTooLongError(int(too_long.group(1)))
        if self.status == 413:
            return UnusableAnswerError("the endpoint finds the picture too large (413)")
        return UnusableAnswerError(
            f"the endpoint turned the question down ({self.status}): {self.message}"
        )


def _code(error: Mapping[str, Any]) -> str | None:
    # Some only fill `type`, e.g. "insufficient_quota".
    return _text(error.get("code")) or _text(error.get("type"))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _one_line(text: str, hide: Sequence[str]) -> str:
    for secret in hide:
        text = text.replace(secret, "[removed]")
    line = " ".join(text.split())
    return line if len(line) <= _MAX_MESSAGE_CHARS else line[: _MAX_MESSAGE_CHARS - 1] + "…"
