"""An endpoint that does nothing, to measure what the client itself and the machine cost.

It answers as soon as a request's head is there, as a refusal does, and reads the body past. Run as
a process of its own; writes its port to standard output and ends when standard input does.
"""

import asyncio
import json
import sys

_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
    b"content-length: 28\r\n\r\n" + b'{"error": {"code": "no_op"}}'
)
_LENGTH = b"content-length:"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests until its client leaves."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
            length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0].strip() or b"0"
            await reader.readexactly(int(length))
    except (EOFError, OSError):
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)  # noqa: T201 - the answer to who started it
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
