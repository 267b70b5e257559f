"""The app on the stub engine in a process of its own, so that its memory can be measured alone.

Writes its port to the file descriptor given as its argument once it listens.
"""

import os
import sys

import uvicorn

from server.api.app import create_app
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine
from server.settings import Settings


class AnnouncingServer(uvicorn.Server):
    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(None)
        await app.state.services.engine_host.settled()
        port = self.servers[0].sockets[0].getsockname()[1]
        with os.fdopen(int(sys.argv[1]), "w") as announcement:
            announcement.write(str(port))


class ForgetfulEngine(StubEngine):
    """Does not keep what it was asked, or the memory measured would be that of the pictures."""

    async def ask(self, question: Question) -> Answer:
        try:
            return await super().ask(question)
        finally:
            self.questions.clear()


app = create_app(Settings(), engine=ForgetfulEngine())
AnnouncingServer(uvicorn.Config(app, port=0, log_level="error", access_log=False)).run()
