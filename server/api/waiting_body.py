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
    """A `receive` that gives back what was read ahead."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0

    async def __call__(self) -> Message:
        """The next message (ASGI)."""
        return self._kept.popleft() if self._kept else await self._receive()

    async def left(self) -> None:
        """Return when the client has left; never, if it sends more than is kept."""
        while self._kept_bytes <= _KEPT_BYTES:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            self._kept.append(message)
            self._kept_bytes += len(message.get("body", b""))
        await asyncio.Event().wait()
