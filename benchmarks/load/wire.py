"""HTTP/1.1 by hand: a client so lean that what it measures is the server.

An ordinary client costs about a millisecond a call, as much as a whole refusal does, and on few
cores takes them from the server under load. It also hides what faults are about: whether an answer
came before the body was sent, whether a connection broke in the middle of one. Nothing is retried
here: a reused connection that breaks is a lost request.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import urlsplit

from server.errors import SightwardError

_CONNECT_TIMEOUT_S = 5.0


class LostError(SightwardError):
    """A request without an answer; `is_sent` tells whether a byte of it may have arrived."""

    def __init__(self, reason: str, *, is_sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_sent = is_sent


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer; header names are in lower case. `latency_ms` is from first byte written."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_ms: float


@dataclass(frozen=True, slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Sender(Protocol):
    """Whatever sends a request and gives its answer; raises `LostError` where none comes."""

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request, one whole answer."""
        ...


class Wire:
    """Sends requests to one server, any number at once, over connections that it keeps.

    `url` may have a path, which goes before every request's; one that ends in ``/v1``, as other
    clients want it, is taken without. `headers` go with every request.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 120.0, headers: Mapping[str, str] | None = None
    ) -> None:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if is_tls else 80)
        self._host_header = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._tls = ssl.create_default_context() if is_tls else None
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for connections that are to misbehave."""
        return self._host, self._port

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().writer.close()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request and read its answer; raises `LostError` when none comes."""
        head = request_head(
            method,
            self._prefix + path,
            len(body),
            {**self._headers, **(headers or {})},
            host=self._host_header,
        )
        connection = self._reusable() or await self._connect()
        began_s = time.perf_counter()
        is_done = False
        try:
            async with asyncio.timeout(self._timeout_s):
                connection.writer.write(head + body)
                reply = await read_reply(connection.reader, began_s)
            is_done = True
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise LostError(f"{type(error).__name__}: {error}", is_sent=True) from error
        finally:
            if is_done and reply.headers.get("connection", "").lower() != "close":
                self._idle.append(connection)
            else:
                connection.writer.close()
        return reply

    def _reusable(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        return None

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                return _Connection(
                    *await asyncio.open_connection(self._host, self._port, ssl=self._tls)
                )
        except OSError as error:
            raise LostError(f"not connected: {error}", is_sent=False) from error


def request_head(
    method: str,
    path: str,
    body_bytes: int,
    headers: Mapping[str, str],
    *,
    host: str = "sightward",
) -> bytes:
    """A request's head for a JSON body of so many bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    if body_bytes:
        lines += ["content-type: application/json", f"content-length: {body_bytes}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_reply(reader: asyncio.StreamReader, began_s: float) -> Reply:
    """The next answer on a connection; raises `EOFError` or `OSError` when it breaks off."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(status, headers, body, (time.perf_counter() - began_s) * 1000)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():  # trailers
        pass
    return b"".join(parts)
