"""Labelled pictures as they are, each asked once, and every text about one.

The text of an example is its concept's name or its caption. Examples share texts (a concept has
many pictures), so each distinct text is asked once and its answer stands for all of them.
"""

import mimetypes
from collections.abc import Callable, Sequence
from typing import Literal

from alignment.data.manifest import Example, ImageSet
from benchmarks.clients import work_through
from benchmarks.endpoint import Endpoint, Judged
from benchmarks.errors import MeasurementError

TextField = Literal["concept", "caption"]


async def replay_images(
    endpoint: Endpoint,
    image_set: ImageSet,
    examples: Sequence[Example],
    *,
    clients: int,
    on_answer: Callable[[], None],
) -> list[Judged]:
    """The judgement of every example's picture, in their order; files are sent as they are."""

    async def ask(example: Example) -> Judged:
        path = image_set.path_of(example)
        media_type = mimetypes.guess_type(path.name)[0] or "image/jpeg"
        return await endpoint.judge_image(path.read_bytes(), media_type=media_type)

    return await work_through(examples, ask, clients=clients, on_answer=on_answer)


async def replay_texts(
    endpoint: Endpoint,
    texts: Sequence[str],
    *,
    clients: int,
    on_answer: Callable[[], None],
) -> dict[str, Judged]:
    """The judgement of each distinct text."""
    distinct = list(dict.fromkeys(texts))
    judged = await work_through(distinct, endpoint.judge_text, clients=clients, on_answer=on_answer)
    return dict(zip(distinct, judged, strict=True))


def text_of(example: Example, field: TextField) -> str:
    """The words that stand for the picture; raises `MeasurementError` where it has none."""
    text = example.concept if field == "concept" else example.caption
    if not text.strip():
        raise MeasurementError(f"example {example.id!r} has no {field} to judge by text")
    return text
