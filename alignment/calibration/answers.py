"""Asking a model what is calibrated: labelled pictures and words, exactly as they are served.

The questions go through the server's own pipeline with its own engine, so prompt, precision and
reading are those of the endpoint; only the scores stay raw.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from alignment.data.manifest import Example, ImageSet
from server.concepts.head_score import head_p_unsafe, pooled
from server.concepts.recognition import Recognition
from server.moderator import Judgement, Moderator

WordsFrom = Literal["concept", "caption", "both", "none"]

NONE = "none"
"""The name that is right about what is safe."""

_WEAK = "weak"
_ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Item:
    """A labelled input: `content` is an example, whose picture is judged, or words.

    `category` and `concept` are the right names, None where they are unknown or the input only
    hints at them. Items of one `group` are not independent of one another.
    """

    content: Example | str
    group: str
    is_unsafe: bool
    category: str | None
    concept: str | None


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What the model said about an item; None is no answer.

    `p_unsafe` is what its words said, `head` the safety head's word (`server.concepts.head_score`),
    None for a model without.
    """

    item: Item
    p_unsafe: float | None
    recognition: Recognition | None
    head: float | None = None

    def pooled(self, head_share: float) -> "RawAnswer":
        """The same answer with the head's share in `p_unsafe`."""
        if self.p_unsafe is None:
            return self
        return replace(self, p_unsafe=pooled(self.p_unsafe, self.head, head_share))


def picture_items(examples: Sequence[Example]) -> list[Item]:
    """The pictures of labelled examples."""
    return [
        Item(
            content=example,
            group=f"group {example.group}" if example.group else f"image {example.id}",
            is_unsafe=example.unsafe,
            category=_right(example, example.category) if example.proxy != _WEAK else None,
            concept=_right(example, example.concept) if example.proxy != _WEAK else None,
        )
        for example in examples
    ]


def words_items(examples: Sequence[Example], words: WordsFrom) -> list[Item]:
    """Every distinct text about the examples, once; the texts of one concept are a group.

    Words that stand for safe and for unsafe examples alike say nothing of either and are left out.
    """
    items: dict[str, Item] = {}
    labels: dict[str, set[bool]] = {}
    for example in examples:
        for text in _texts(example, words):
            if not text.strip():
                continue
            labels.setdefault(text, set()).add(example.unsafe)
            # A caption of a weak picture names an everyday thing, the concept's own name does not.
            is_clear = example.proxy != _WEAK or text == example.concept
            items.setdefault(
                text,
                Item(
                    content=text,
                    group=f"concept {example.concept or example.id}",
                    is_unsafe=example.unsafe,
                    category=_right(example, example.category) if is_clear else None,
                    concept=_right(example, example.concept) if is_clear else None,
                ),
            )
    return [item for text, item in items.items() if len(labels[text]) == 1]


async def ask_about(
    moderator: Moderator,
    images: ImageSet,
    items: Sequence[Item],
    *,
    on_answer: Callable[[], None] = lambda: None,
) -> list[RawAnswer]:
    """The answer about each item, in their order; `moderator` must leave scores raw.

    Raises `EngineError` where the engine can't be asked, `PictureFileError` for a bad file.
    """
    turns = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(item: Item) -> RawAnswer:
        async with turns:
            verdict = (await _judge(moderator, images, item)).verdict
        on_answer()
        head = None if verdict.risk is None else head_p_unsafe(verdict.risk)
        return RawAnswer(item, verdict.p_unsafe, verdict.recognition, head)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(item)) for item in items]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _judge(moderator: Moderator, images: ImageSet, item: Item) -> Awaitable[Judgement]:
    if isinstance(item.content, str):
        return moderator.judge_text(item.content)
    return moderator.judge_image(images.open(item.content))


def _texts(example: Example, words: WordsFrom) -> tuple[str, ...]:
    match words:
        case "concept":
            return (example.concept,)
        case "caption":
            return (example.caption,)
        case "both":
            return (example.concept, example.caption)
        case "none":
            return ()


def _right(example: Example, name: str) -> str | None:
    """The name that is right about the example; None for an unsafe one of unknown kind."""
    return (name or None) if example.unsafe else NONE
