"""The server on a stub that takes a moment for each question, so that there is a middle to kill."""

import asyncio

import server.__main__ as command_line
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine


class Slow(StubEngine):
    async def ask(self, question: Question) -> Answer:
        await asyncio.sleep(0.005)
        return await super().ask(question)


command_line._make_engine = lambda settings, *_: Slow()
command_line._startup_check = lambda settings, *_: None
command_line.main()
