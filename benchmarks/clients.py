"""Several clients that work through one list, as fast as their answers come back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def work_through(
    items: Sequence[Item],
    ask: Callable[[Item], Awaitable[Answer]],
    *,
    clients: int,
    on_answer: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """`ask` about every item, `clients` at a time; answers in the items' order.

    Each client takes the next item as soon as it has its answer. The first error ends all of them
    and is raised as it is.
    """
    answers: dict[int, Answer] = {}
    waiting = iter(enumerate(items))

    async def client() -> None:
        for index, item in waiting:
            answers[index] = await ask(item)
            on_answer()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(clients, len(items))):
                group.create_task(client())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [answers[index] for index in range(len(items))]
