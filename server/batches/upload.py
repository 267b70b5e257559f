"""A batch's upload, streamed to the disk: JSON lines as they are, or a form of pictures and lines.

Nothing of it is kept in memory but the piece that has just arrived.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from server.api.schemas import SightwardOptions
from server.batches.draft import Draft
from server.batches.form_parts import FormParts
from server.errors import BatchContentTypeError, BodyTimeoutError, InvalidBodyError

LINE_TYPES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
FORM_TYPE = "multipart/form-data"

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How many lines, and the longest pause in the upload."""

    max_lines: int
    pause_s: float


class _Parts(Protocol):
    options: SightwardOptions

    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


class _Lines:
    """A body of JSON lines."""

    def __init__(self, draft: Draft, *, max_lines: int) -> None:
        self.options = SightwardOptions()
        self._draft = draft
        self._max_lines = max_lines
        draft.begin(custom_id=None, max_lines=max_lines)

    def feed(self, data: bytes) -> None:
        """Write what came."""
        self._draft.write(data, max_lines=self._max_lines)

    def finish(self) -> None:
        """End the lines."""
        self._draft.end(max_lines=self._max_lines)


async def receive(request: Request, draft: Draft, limits: UploadLimits) -> SightwardOptions:
    """Write the request's body to `draft`; gives the options for all pictures of a form.

    Raises a `RequestError`, `BatchStorageError`, and `ClientDisconnect` when the client leaves.
    """
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    parts: _Parts
    if media_type in LINE_TYPES:
        parts = _Lines(draft, max_lines=limits.max_lines)
    elif media_type == FORM_TYPE:
        parts = FormParts(draft, content_type, max_lines=limits.max_lines)
    else:
        raise BatchContentTypeError
    async for piece in _pieces(request, limits.pause_s):
        await asyncio.to_thread(parts.feed, piece)
    await asyncio.to_thread(parts.finish)
    if not draft.lines:
        raise InvalidBodyError("it has no line and no picture")
    return parts.options


async def _pieces(request: Request, pause_s: float) -> AsyncIterator[bytes]:
    """The body in pieces worth a thread's trouble."""
    waiting, waiting_bytes = list[bytes](), 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(pause_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise BodyTimeoutError(timeout_s=pause_s) from error
        if chunk is None:
            break
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
    if waiting_bytes:
        yield b"".join(waiting)
