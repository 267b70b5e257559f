"""Decoding off the event loop, in a fixed number of threads.

Pillow's decoders release the interpreter lock, so threads are enough; their number bounds how many
pictures are open at once and with that the memory that decoding takes.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from server.ingest.data_url import decode_data_url
from server.ingest.decode import CheckedImage, ImageDecoder
from server.ingest.limits import ImageLimits


class DecodePool:
    """Takes encoded pictures, gives checked ones. `close` it when done."""

    def __init__(self, limits: ImageLimits, *, workers: int) -> None:
        self._limits = limits
        self._decoder = ImageDecoder(limits)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    async def decode_bytes(self, data: bytes) -> CheckedImage:
        """Decode an uploaded file; raises an `ImageError`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decoder.decode, data)

    async def decode_url(self, url: str) -> CheckedImage:
        """Decode a data URL; raises an `ImageError`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decode_url, url)

    def _decode_url(self, url: str) -> CheckedImage:
        return self._decoder.decode(decode_data_url(url, max_bytes=self._limits.max_bytes))

    def close(self) -> None:
        """Let running decodes end, drop those that have not begun."""
        self._threads.shutdown(wait=True, cancel_futures=True)
