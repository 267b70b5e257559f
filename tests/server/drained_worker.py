"""The server on a stub that answers its first question only when standard input says so.

Standard output says "asked" when the stub was asked it.
"""

import asyncio
import sys

import server.__main__ as command_line
from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine


class Held(StubEngine):
    is_held = True

    async def ask(self, question: Question) -> Answer:
        if self.is_held:
            self.is_held = False
            sys.stdout.write("asked\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.readline)
        return await super().ask(question)


command_line._make_engine = lambda settings: Held()
command_line._startup_check = lambda settings: None
command_line.main()
