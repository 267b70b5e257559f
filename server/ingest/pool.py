"""Decoding off the event loop, in a fixed number of threads.

Pillow's decoders release the interpreter lock, so threads are enough; their number bounds how many
pictures are open at once and with that the memory that decoding takes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.ingest.data_url import decode_data_url
from server.ingest.decode import CheckedImage, ImageDecoder
from server.ingest.limits import ImageLimits
from server.ingest.recent_pictures import RecentPictures

Source = TypeVar("Source", bytes, str)


class DecodePool:
    """Takes encoded pictures, gives checked ones; those that came lately without decoding.

    `close` it when done.
    """

    def __init__(self, limits: ImageLimits, *, workers: int, recent_bytes: int = 0) -> None:
        self._limits = limits
        self._recent = RecentPictures(recent_bytes)
        self._decoder = ImageDecoder(limits)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    async def decode_bytes(self, data: bytes) -> CheckedImage:
        """Decode an uploaded file; raises an `ImageError`."""
        return await self._decoded(data, self._decoder.decode)

    async def decode_url(self, url: str) -> CheckedImage:
        """Decode a data URL; raises an `ImageError`."""
        return await self._decoded(url, self._decode_url)

    async def _decoded(
        self, source: Source, decode: Callable[[Source], CheckedImage]
    ) -> CheckedImage:
        key = self._recent.key(source)
        known = self._recent.get(key)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(self._threads, decode, source)
        self._recent.put(key, picture)
        return picture

    def _decode_url(self, url: str) -> CheckedImage:
        return self._decoder.decode(decode_data_url(url, max_bytes=self._limits.max_bytes))

    def close(self) -> None:
        """Let running decodes end, drop those that have not begun."""
        self._threads.shutdown(wait=True, cancel_futures=True)
