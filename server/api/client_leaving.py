"""Work that nobody waits for any more is given up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

_Result = TypeVar("_Result")


async def unless_left(request: Request, work: Awaitable[_Result]) -> _Result:
    """Do `work`, unless the client leaves: then it is cancelled, and `ClientDisconnect` raised.

    The request's body must have been read before. A cancellation of the call itself ends both too.
    """
    return await unless_ended(_left(request), work)


async def unless_ended(leaving: Awaitable[None], work: Awaitable[_Result]) -> _Result:
    """As `unless_left`, for a client that has left when `leaving` ends."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(leaving)
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        left.cancel()
        # Waits for both, and unlike awaiting them lets a cancellation of this call through.
        await asyncio.gather(task, left, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
