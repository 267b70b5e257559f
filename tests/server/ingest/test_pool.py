import asyncio
import base64
import threading
from collections.abc import Callable

import pytest
from PIL import Image

from server.errors import DataUrlError, EmptyImageError, ImageBytesError
from server.ingest.decode import CheckedImage, ImageDecoder
from server.ingest.limits import ImageLimits
from server.ingest.pool import DecodePool


async def test_uploads_and_data_urls_give_the_same_picture(
    encode: Callable[..., bytes], noise: Image.Image
) -> None:
    data = encode(noise, "PNG")
    pool = DecodePool(ImageLimits(), workers=1)
    uploaded = await pool.decode_bytes(data)
    inline = await pool.decode_url("data:image/png;base64," + base64.b64encode(data).decode())
    pool.close()
    assert uploaded.fingerprint == inline.fingerprint


async def test_errors_reach_the_caller() -> None:
    pool = DecodePool(ImageLimits(max_bytes=10), workers=1)
    with pytest.raises(EmptyImageError):
        await pool.decode_bytes(b"")
    with pytest.raises(DataUrlError):
        await pool.decode_url("data:image/png,")
    with pytest.raises(ImageBytesError):
        await pool.decode_url("data:image/png;base64," + "A" * 40)
    pool.close()


async def test_decoding_leaves_the_event_loop_free_and_is_bounded(
    encode: Callable[..., bytes], noise: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_finish = threading.Event()
    both_busy = threading.Barrier(3)
    at_once = 0
    most_at_once = 0
    lock = threading.Lock()
    real_decode = ImageDecoder.decode

    def slow_decode(self: ImageDecoder, data: bytes) -> CheckedImage:
        nonlocal at_once, most_at_once
        with lock:
            at_once += 1
            most_at_once = max(most_at_once, at_once)
        if not may_finish.is_set():
            both_busy.wait(timeout=30)
        may_finish.wait(timeout=30)
        try:
            return real_decode(self, data)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(ImageDecoder, "decode", slow_decode)
    pool = DecodePool(ImageLimits(), workers=2)
    data = encode(noise, "PNG")
    decoding = [asyncio.create_task(pool.decode_bytes(data)) for _ in range(6)]
    # The loop runs this while both workers are held: had they run on it, nothing would get here.
    await asyncio.to_thread(both_busy.wait, 30)
    may_finish.set()
    results = await asyncio.gather(*decoding)
    pool.close()
    assert len(results) == 6
    assert most_at_once == 2
