"""The body of a call that waits: looked at only as far as is needed to see its client leave.

Whether a client is still there can only be told by reading on. A short body is read to its end,
behind which a client's leaving shows; of a long one the beginning is kept, and the rest stays in
the socket, where it costs this process nothing.
"""

import asyncio
from collections import deque

from starlette.types import Message, Receive

_KEPT_BYTES = 64 * 1024


class WaitingBody:
    """A `receive` that gives back what was read ahead. `close` it when the call is over.

    A read that has begun is never cancelled when the wait ends, but handed on: not every server
    keeps what such a read would have returned.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._reading: asyncio.Future[Message] | None = None
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0

    async def __call__(self) -> Message:
        """The next message (ASGI)."""
        if self._kept:
            return self._kept.popleft()
        if self._reading is None:
            return await self._receive()
        reading, self._reading = self._reading, None
        return await reading

    async def left(self) -> None:
        """Return when the client has left; never, if it sends more than is kept."""
        while self._kept_bytes <= _KEPT_BYTES:
            if self._reading is None:
                self._reading = asyncio.ensure_future(self._receive())
            message = await asyncio.shield(self._reading)
            self._reading = None
            if message["type"] == "http.disconnect":
                return
            self._kept.append(message)
            self._kept_bytes += len(message.get("body", b""))
        await asyncio.Event().wait()

    async def close(self) -> None:
        """End what is still being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
