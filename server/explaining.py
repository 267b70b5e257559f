"""One or two written sentences beside a verdict: what the model says is to be seen.

A verdict is a probability; its explanation is text that the model writes afterwards when it is
told the likeliest category. It decides nothing, is kept nowhere, and may be wrong: a small model
names a thing that is not there as fluently as one that is.

The category is in the prompt and the concept is not. Of nine ways of asking, tried on nine
pictures with the reference model, those that named the concept had it repeated back whatever the
picture showed, and those that asked "why" got "yes" or "no"; the one below got a sentence each
time, right about the picture seven times.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from server.concepts.verdict import Outcome, Verdict
from server.engine.conversation import Chat, Turn, Writer
from server.engine.protocol import Sampling
from server.errors import EngineError
from server.telemetry.explanation_metrics import ExplanationMetrics

NoExplanation = Literal[
    "unsupported", "not_judged", "listed", "safety_head", "timeout", "failed", "unusable"
]
"""Why there is none: the engine does not write; nothing was judged; a list decided; the safety head
alone judged; it took too long; the engine failed; or what it wrote is no sentence."""

_PICTURE_UNSAFE = "Describe this picture in one sentence and say what in it may be {category}."
_PICTURE_SAFE = "Describe this picture in one sentence."
_TEXT_UNSAFE = (
    "Say in one sentence what the following text is about and what in it may be {category}.\n\n"
    "{text}"
)
_TEXT_SAFE = "Say in one sentence what the following text is about.\n\n{text}"
_MAX_TEXT_CHARS = 2_000
_MAX_SENTENCES = 2
_MIN_WORDS = 3
_SENTENCE = re.compile(r".+?[.!?…。！？]+[\"'”’)\]]*(?=\s|$)", re.S)  # noqa: RUF001 - full-width ends


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was written, in whole sentences where there is one; `tokens` are those it cost.

    `is_truncated` where the model was cut off before its end, so that there may have been more.
    """

    text: str
    tokens: int
    is_truncated: bool


class Explainer:
    """Has explanations written, `at_once` at a time; each within `timeout_s`, waiting included."""

    def __init__(
        self, metrics: ExplanationMetrics, *, max_tokens: int, timeout_s: float, at_once: int
    ) -> None:
        self._metrics = metrics
        # Temperature 0: the same picture is explained in the same words.
        self._sampling = Sampling(max_tokens, temperature=0.0, top_p=1.0)
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(at_once)

    async def explain(
        self,
        content: Image.Image | str,
        verdict: Verdict,
        writer: Writer | None,
        *,
        answer_by_s: float | None = None,
    ) -> Explanation | NoExplanation:
        """An explanation of a verdict on `content`, or why there is none; raises nothing of either.

        `answer_by_s` is when it has to be done at the latest, by the event loop's clock.
        """
        explained = await self._explained(content, verdict, writer, answer_by_s)
        outcome = explained if isinstance(explained, str) else "written"
        self._metrics.count(outcome)
        return explained

    def count_none(self, reason: NoExplanation) -> NoExplanation:
        """Count one that is not even tried."""
        self._metrics.count(reason)
        return reason

    async def _explained(
        self,
        content: Image.Image | str,
        verdict: Verdict,
        writer: Writer | None,
        answer_by_s: float | None,
    ) -> Explanation | NoExplanation:
        if verdict.p_unsafe is None:
            return "not_judged"
        if "model" not in verdict.judged_by:
            return "safety_head"
        if writer is None:
            return "unsupported"
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        if answer_by_s is not None:
            ends_s = min(ends_s, answer_by_s)
        try:
            async with asyncio.timeout_at(ends_s), self._places:
                began_s = time.perf_counter()
                written = await writer.write(explanation_chat(content, verdict), self._sampling)
        except TimeoutError:
            return "timeout"
        except EngineError:
            return "failed"
        self._metrics.wrote(time.perf_counter() - began_s, written.tokens)
        text, is_cut = whole_sentences(written.text, is_complete=written.is_complete)
        if len(text.split()) < _MIN_WORDS:
            return "unusable"
        return Explanation(text, written.tokens, is_cut)


def explanation_chat(content: Image.Image | str, verdict: Verdict) -> Chat:
    """What the model is asked about a picture or text that got this verdict."""
    category = _category(verdict)
    if isinstance(content, str):
        template = _TEXT_SAFE if category is None else _TEXT_UNSAFE
        words = template.format(category=category, text=content[:_MAX_TEXT_CHARS])
        return Chat((Turn("user", (words,)),))
    template = _PICTURE_SAFE if category is None else _PICTURE_UNSAFE
    return Chat((Turn("user", (content, template.format(category=category))),))


def whole_sentences(text: str, *, is_complete: bool) -> tuple[str, bool]:
    """The first sentences that have an end, and whether the model was cut off.

    Where none has one, the words there are.
    """
    text = " ".join(text.split())
    found = [match.group().strip() for match in _SENTENCE.finditer(text)]
    return " ".join(found[:_MAX_SENTENCES]) or text, not is_complete


def _category(verdict: Verdict) -> str | None:
    """The likeliest category of what is unsafe; None: it is not, or nobody knows which."""
    if verdict.outcome is not Outcome.UNSAFE or not verdict.categories:
        return None
    return max(verdict.categories, key=lambda name: verdict.categories[name])
