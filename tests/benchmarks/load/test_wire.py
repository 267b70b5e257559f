"""The lean client: what it sends and what it reads, against a server made by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.load.wire import LostError, Wire


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    heads: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heads


async def test_an_answer_in_chunks_is_put_together() -> None:
    chunks = b"5\r\nhello\r\n6;name=x\r\n world\r\n0\r\ntrailer: t\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    async with server(head + chunks) as (url, _), Wire(url) as wire:
        reply = await wire.request("GET", "/")

    assert reply.body == b"hello world"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_as_other_clients_want_it_will_do(suffix: str) -> None:
    answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    async with server(answer) as (url, heads):
        async with Wire(url + suffix, headers={"authorization": "Bearer k"}) as wire:
            await wire.request("POST", "/v1/moderations", b"{}")
        host = url.removeprefix("http://")

    assert heads[0].startswith(b"POST /v1/moderations HTTP/1.1\r\n")
    assert f"host: {host}\r\n".encode() in heads[0]
    assert b"authorization: Bearer k\r\n" in heads[0]


async def test_an_answer_that_breaks_off_is_lost() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    async with server(answer) as (url, _), Wire(url) as wire:
        with pytest.raises(LostError) as caught:
            await wire.request("GET", "/")

    assert caught.value.is_sent
