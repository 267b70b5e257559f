"""Whole lists of requests through vLLM, each list as one reproducible batch.

Which requests share a forward pass decides the shapes of its matrices, and in bf16 other shapes
round differently. A server can live with that; a measurement that is interrupted and taken up again
must give the same figures. So the scheduler is held while a list is handed over, and every cache is
emptied first: the list then runs by itself, and always the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


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
    llm: Any, requests: Sequence[BatchRequest], *, returned: tuple[type[Exception], ...]
) -> list[Any]:
    """Each request's final `RequestOutput`, or the exception of a `returned` class it ended with.

    Nothing else may be running on `llm`. Any other exception, and cancelling, aborts the whole list
    and is raised.
    """
    waiting: list[Any] = []
    try:
        try:
            await llm.pause_generation(mode="keep", clear_cache=True)
            for request in requests:
                # One by one: an interruption must find those that were handed over.
                waiting.append(await _hand_over(llm, request, returned))  # noqa: PERF401
        finally:
            await llm.resume_generation()
        return [await _outcome(one, returned) for one in waiting]
    except BaseException:
        ids = [one.request_id for one in waiting if not isinstance(one, Exception)]
        with suppress(Exception):
            await asyncio.shield(llm.abort(ids, internal=True))
        raise


async def _hand_over(llm: Any, request: BatchRequest, returned: tuple[type[Exception], ...]) -> Any:
    """The queue on which the request's outputs will come, or its exception."""
    try:
        engine_input = await request.render()
        return await llm.add_request(
            request.id, engine_input, request.sampling, lora_request=request.lora
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
