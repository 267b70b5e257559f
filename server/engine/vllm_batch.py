"""Whole lists of requests through vLLM, each list as one reproducible batch.

Which requests share a forward pass decides the shapes of its matrices, and in bf16 other shapes
round differently. A server can live with that; a measurement that is interrupted and taken up again
must give the same figures. So the scheduler is held while a list is handed over, and every cache is
emptied first: the list then runs by itself, and always the same way.

On a CPU vLLM dies when a prompt that is sampled with a seed is split over two forward passes: it
then winds the seed's generator back, which CPU generators can't do. So there a list runs in waves
that fit into one pass.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from server.errors import UnusableAnswerError


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request: `render` makes vLLM's engine input, once the caches are empty.

    It may raise what belongs to this request alone; that is then its result.
    """

    id: str
    render: Callable[[], Awaitable[Any]]
    sampling: Any
    lora: Any = None


async def run_together(
    llm: Any,
    requests: Sequence[BatchRequest],
    *,
    returned: tuple[type[Exception], ...],
    max_prefill_tokens: int | None = None,
) -> list[Any]:
    """Each request's final `RequestOutput`, or the exception of a `returned` class it ended with.

    Nothing else may be running on `llm`. `max_prefill_tokens` bounds a wave (None: all requests are
    one wave); a single prompt beyond it gets an `UnusableAnswerError`, which must be in `returned`.
    Any other exception, and cancelling, aborts the whole list and is raised.
    """
    outcomes: list[Any] = []
    while len(outcomes) < len(requests):
        rest = requests[len(outcomes) :]
        outcomes += await _run_wave(llm, rest, returned, max_prefill_tokens)
    return outcomes


async def _run_wave(
    llm: Any,
    requests: Sequence[BatchRequest],
    returned: tuple[type[Exception], ...],
    max_prefill_tokens: int | None,
) -> list[Any]:
    """The outcomes of as many of the first requests as fit into a wave."""
    waiting: list[Any] = []
    prefill_tokens = 0
    try:
        try:
            await llm.pause_generation(mode="keep", clear_cache=True)
            for request in requests:
                rendered = await _rendered(request, returned, max_prefill_tokens)
                if isinstance(rendered, Exception):
                    waiting.append(rendered)
                    continue
                prefill_tokens += len(rendered["prompt_token_ids"])
                if max_prefill_tokens is not None and prefill_tokens > max_prefill_tokens:
                    break
                waiting.append(await _hand_over(llm, request, rendered, returned))
                _end_if_cancelled()
        finally:
            await llm.resume_generation()
        _end_if_cancelled()
        return [await _outcome(one, returned) for one in waiting]
    except BaseException:
        ids = [one.request_id for one in waiting if not isinstance(one, Exception)]
        with suppress(Exception):
            await asyncio.shield(llm.abort(ids, internal=True))
        raise


def _end_if_cancelled() -> None:
    """Raise a cancellation that came while vLLM was handed something and was lost in there."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _rendered(
    request: BatchRequest, returned: tuple[type[Exception], ...], max_tokens: int | None
) -> Any:
    """The request's engine input, or why it has none."""
    try:
        rendered = await request.render()
    except returned as error:
        return error
    tokens = len(rendered["prompt_token_ids"])
    if max_tokens is not None and tokens > max_tokens:
        return UnusableAnswerError(
            f"a prompt of {tokens} tokens can't be sampled reproducibly on a CPU, "
            f"where vLLM takes {max_tokens} at once"
        )
    return rendered


async def _hand_over(
    llm: Any, request: BatchRequest, rendered: Any, returned: tuple[type[Exception], ...]
) -> Any:
    """The queue on which the request's outputs will come, or its exception."""
    try:
        return await llm.add_request(
            request.id, rendered, request.sampling, lora_request=request.lora
        )
    except returned as error:
        return error


async def _outcome(queue: Any, returned: tuple[type[Exception], ...]) -> Any:
    if isinstance(queue, Exception):
        return queue
    try:
        # `FINAL_ONLY` requests put one output on their queue, the finished one.
        output = await queue.get()
        while not output.finished:
            output = await queue.get()
    except returned as error:
        return error
    finally:
        queue.close()
    return output
