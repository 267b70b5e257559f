"""Which settings an endpoint takes: models behind the same API differ in what they refuse."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from server.engine.remote.refusals import Refusal

MOST_TOP_LOGPROBS = 20
_FEWER_TOP_LOGPROBS = 5
"""What OpenAI and vLLM allow, and what the stricter ones do."""

OWN_FIELDS = frozenset(
    {"model", "messages", "stream", "n", "temperature", "top_p", "seed"}
    | {"max_tokens", "max_completion_tokens", "logprobs", "top_logprobs"}
)
"""What the engine sets in a request's body, and nobody else."""

_OPTIONAL = ("temperature", "top_p", "seed")
_SAYS_NO_STATUSES = frozenset({400, 403, 404, 422})


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to put a request to one endpoint.

    `top_logprobs` is how many of the first token's probabilities are asked for, None where the
    endpoint offers none; `left_out` are the settings it refuses to be given at all.
    """

    top_logprobs: int | None = MOST_TOP_LOGPROBS
    max_tokens_name: str = "max_tokens"
    left_out: frozenset[str] = frozenset()

    @property
    def has_logprobs(self) -> bool:
        """Whether first-token probabilities are offered."""
        return self.top_logprobs is not None

    def without_logprobs(self) -> "Dialect":
        """The same, asking for words alone."""
        return replace(self, top_logprobs=None)

    def settings(
        self,
        *,
        max_tokens: int,
        temperature: float,
        top_p: float | None = None,
        seed: int | None = None,
        wants_logprobs: bool = False,
    ) -> dict[str, Any]:
        """The request's fields beside model and messages."""
        optional = {"temperature": temperature, "top_p": top_p, "seed": seed}
        settings: dict[str, Any] = {
            name: value
            for name, value in optional.items()
            if value is not None and name not in self.left_out
        }
        settings[self.max_tokens_name] = max_tokens
        if wants_logprobs and self.top_logprobs is not None:
            settings |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return settings

    def adapted_to(self, refusal: Refusal) -> "Dialect | None":
        """The dialect to try next; None when `refusal` names no setting that can be given up.

        Every step gives something up, so that a caller that retries with each comes to an end.
        """
        if refusal.status not in _SAYS_NO_STATUSES:
            return None
        if self.max_tokens_name == "max_tokens" and _wants_completion_tokens(refusal):
            return replace(self, max_tokens_name="max_completion_tokens")
        if self.top_logprobs is not None and refusal.names_logprobs:
            is_most = self.top_logprobs > _FEWER_TOP_LOGPROBS
            return replace(self, top_logprobs=_FEWER_TOP_LOGPROBS if is_most else None)
        for name in _OPTIONAL:
            if name not in self.left_out and _names(refusal, name):
                return replace(self, left_out=self.left_out | {name})
        return None


def user_turn(text: str, picture: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The messages of one question: `picture`, a content part, comes before the words."""
    content: Any = text if picture is None else [picture, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def _wants_completion_tokens(refusal: Refusal) -> bool:
    # "max_tokens" alone may also be said of a value that is too small or too large.
    return "max_completion_tokens" in refusal.message or (
        refusal.param == "max_tokens" and refusal.code == "unsupported_parameter"
    )


def _names(refusal: Refusal, name: str) -> bool:
    # Unquoted, "seed" may be a part of a model's name.
    quoted = rf"""['"`]{name}['"`]|:\s*{name}\b"""
    return refusal.param == name or re.search(quoted, refusal.message) is not None
