"""A small server that speaks Redis's protocol, which tests can cut off and hold back at will."""

import asyncio
from collections.abc import AsyncIterator

import pytest


class SmallRedis:
    """Knows HELLO, GET, and SET with PX. `commands` lists what was asked, in order."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.lifetimes_ms: dict[bytes, int] = {}
        self.commands: list[bytes] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone: refuse connections and cut those there are."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                command = await _read_command(reader)
                await self.answers.wait()
                writer.write(self._answer(command))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, command: list[bytes]) -> bytes:
        name, *arguments = command
        self.commands.append(name.upper())
        match name.upper():
            case b"HELLO":
                return b"%2\r\n+server\r\n+small\r\n+proto\r\n:3\r\n"
            case b"GET":
                value = self.values.get(arguments[0])
                return b"_\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            case b"SET":
                self.values[arguments[0]] = arguments[1]
                self.lifetimes_ms[arguments[0]] = int(arguments[3])
                return b"+OK\r\n"
            case b"CLIENT" | b"PING":
                return b"+OK\r\n"
        return b"-ERR unknown command\r\n"


async def _read_command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readline())[1:] or 0)
    if count == 0:
        raise ConnectionError
    parts = []
    for _ in range(count):
        length = int((await reader.readline())[1:])
        parts.append((await reader.readexactly(length + 2))[:-2])
    return parts


@pytest.fixture
async def redis_server() -> AsyncIterator[SmallRedis]:
    """A `SmallRedis` that listens on loopback."""
    server = SmallRedis()
    await server.start()
    try:
        yield server
    finally:
        server.answers.set()
        await server.stop()
