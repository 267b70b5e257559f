"""Requests that are sent when their time has come, however the server is doing.

A client that waits for an answer before it sends the next request slows down with the server, and
never sees what those would have suffered whom it did not send (coordinated omission). Here the
times are set beforehand. Whoever asks is told when a request was due and counts its latency from
then, so that a generator that falls behind shows and does not flatter.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def poisson_arrivals_s(rate_per_s: float, seconds: float, *, seed: int) -> list[float]:
    """When requests are due, counted from the start: independent of each other and of answers."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1.0 / rate_per_s, size=int(rate_per_s * seconds * 1.5) + 16)
    times = np.cumsum(gaps)
    return [float(one) for one in times[times < seconds]]


def poisson_arrivals_of(count: int, rate_per_s: float, *, seed: int) -> list[float]:
    """As `poisson_arrivals_s`, so many of them, however long that takes."""
    random = np.random.default_rng(seed)
    return [float(one) for one in np.cumsum(random.exponential(1.0 / rate_per_s, size=count))]


def poisson_arrivals_in(count: int, seconds: float, *, seed: Sequence[int]) -> list[float]:
    """Exactly `count` of them within `seconds`, as a Poisson process has them that came to so many.

    How many come in a short while scatters widely; here the rate is the one that was meant.
    """
    times = np.random.default_rng(list(seed)).uniform(0.0, seconds, size=count)
    return [float(one) for one in np.sort(times)]


async def open_loop(
    ask: Callable[[Item, float], Awaitable[Answer]],
    items: Sequence[Item],
    arrivals_s: Sequence[float],
) -> list[Answer]:
    """Ask about each item at its time, and wait for all ends; in the order of the arrivals.

    `ask` gets the item and when it was due, by `time.monotonic`.
    """
    began_s = time.monotonic()
    tasks = []
    for item, arrival_s in zip(items, arrivals_s, strict=True):
        due_s = began_s + arrival_s
        delay_s = due_s - time.monotonic()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        tasks.append(asyncio.create_task(_due(ask, item, due_s)))
    return list(await asyncio.gather(*tasks))


async def _due(ask: Callable[[Item, float], Awaitable[Answer]], item: Item, due_s: float) -> Answer:
    return await ask(item, due_s)
