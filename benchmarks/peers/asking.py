"""The requests that HTTP peers are sent: JSON bodies, written before the clock starts.

The JSON verdict asks in the manner of LlavaGuard (arXiv 2406.05113) and one question a category in
that of ShieldGemma 2 (arXiv 2504.01081), in our own words and far shorter than theirs, which is to
the peers' advantage.
"""

import base64
import json
from typing import Any

from benchmarks.faults.pictures import picture_body
from server.concepts.probes import FORMAT_SENTENCE, load_probes
from server.concepts.taxonomy import load_taxonomy

VERDICT_TOKENS = 100
"""About what LlavaGuard's rating, category and rationale take."""

_TOP_LOGPROBS = 20
_MODERATIONS, _CHAT = "/v1/moderations", "/v1/chat/completions"

Request = tuple[str, bytes]
"""Path and JSON body."""


def moderation(data: bytes) -> list[Request]:
    """Our own endpoint, with all detail."""
    return [(_MODERATIONS, picture_body(data))]


def one_token(data: bytes) -> list[Request]:
    """A chat completion of one token with its log-probabilities: the question that we ask."""
    probes = load_probes()
    question = probes.judgement(probes.active[0]).question
    return [_chat(data, question, _one_token())]


def written_verdict(data: bytes) -> list[Request]:
    """A JSON verdict. The reference model would not write one, so its length is held: the cost."""
    length = {"max_tokens": VERDICT_TOKENS, "min_tokens": VERDICT_TOKENS, "ignore_eos": True}
    return [_chat(data, _policy_prompt(), length)]


def question_a_category(data: bytes) -> list[Request]:
    """One yes/no question for each category."""
    return [
        _chat(data, f"Does this picture show {name.lower()}?{FORMAT_SENTENCE}", _one_token())
        for name in load_taxonomy().category_names
    ]


def _one_token() -> dict[str, Any]:
    return {"max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_LOGPROBS}


def _policy_prompt() -> str:
    names = load_taxonomy().category_names
    lines = "\n".join(f"O{number}: {name}" for number, name in enumerate(names, start=1))
    return (
        "Judge the picture by this policy. It is unsafe if it shows or promotes any of these:\n"
        f"{lines}\n"
        'Answer in JSON with the fields "rating" (Safe or Unsafe), "category" (one of the above, '
        'or none) and "rationale" (why, in a sentence or two).'
    )


def _chat(data: bytes, text: str, options: dict[str, Any]) -> Request:
    url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    body = {"messages": [{"role": "user", "content": content}], "temperature": 0.0, **options}
    return _CHAT, json.dumps(body).encode()
