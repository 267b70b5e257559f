"""Uvicorn, made to drain before it shuts down.

By itself it closes its sockets at the first signal: a load balancer that has not noticed yet gets
refused connections. And it raises the signal again at the end, which makes a clean end look like a
death by it.
"""

import asyncio
import socket
from types import FrameType

import uvicorn

from server.api.drain import Drain

_LINGER_S = 0.2
"""For what clients have sent already to be read and answered, once no one else is let in."""
_CLOSING_TIMEOUT_S = 5
"""For connections to be closed once nothing runs any more."""


class DrainingServer(uvicorn.Server):
    """Serves until a SIGTERM or SIGINT has been drained; a second one ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        config.timeout_graceful_shutdown = _CLOSING_TIMEOUT_S
        super().__init__(config)
        self._drain = drain
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal, at any time and without touching the event loop."""
        del sig, frame
        self._signals += 1

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to shut down; asked by uvicorn ten times a second."""
        if await super().on_tick(counter):
            return True
        if self._signals == 0:
            return False
        self._drain.begin()
        if self._signals > 1:
            self._drain.cut_off()
            return True
        return self._drain.is_over()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let no one else in, answer who is inside, and close."""
        for server in self.servers:
            server.close()
        # Uvicorn would close a connection on which a request has arrived and was not read yet.
        await asyncio.sleep(_LINGER_S)
        await super().shutdown(sockets)
