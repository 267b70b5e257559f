import base64
from collections.abc import Callable

import pytest
from PIL import Image

from server.errors import ImageError
from server.ingest.decode import CheckedImage, ImageDecoder
from server.ingest.limits import ImageLimits
from server.ingest.pool import DecodePool
from server.ingest.recent_pictures import MAX_SOURCE_BYTES, RecentPictures

SIDE_PX = 10
ONE = SIDE_PX * SIDE_PX * 3


def picture(shade: int = 0) -> CheckedImage:
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), (shade,) * 3)
    return CheckedImage(image, "PNG", SIDE_PX, SIDE_PX, f"shade {shade}")


def test_the_longest_unused_is_forgotten_first() -> None:
    recent = RecentPictures(8 * ONE)
    keys = [recent.key(bytes([shade])) for shade in range(9)]
    for shade in range(8):
        recent.put(keys[shade], picture(shade))
    recent.get(keys[0])

    recent.put(keys[8], picture(8))

    assert recent.get(keys[0]) is not None
    assert recent.get(keys[1]) is None
    assert recent.used_bytes == 8 * ONE


def test_a_large_picture_is_not_kept() -> None:
    recent = RecentPictures(8 * ONE - 1)
    recent.put(recent.key(b"a"), picture())
    assert recent.get(recent.key(b"a")) is None
    assert recent.used_bytes == 0


def test_nothing_is_kept_without_room_or_of_a_large_file() -> None:
    assert RecentPictures(0).key(b"a") is None
    assert RecentPictures(1000).key(b"a" * (MAX_SOURCE_BYTES + 1)) is None


async def test_the_same_file_is_decoded_once_and_another_is_not_taken_for_it(
    encode: Callable[..., bytes], noise: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 0
    real_decode = ImageDecoder.decode

    def counted(self: ImageDecoder, data: bytes) -> CheckedImage:
        nonlocal decoded
        decoded += 1
        return real_decode(self, data)

    monkeypatch.setattr(ImageDecoder, "decode", counted)
    pool = DecodePool(ImageLimits(), workers=1, recent_bytes=1 << 20)
    data, other = encode(noise, "PNG"), encode(noise.transpose(Image.Transpose.ROTATE_180), "PNG")
    url = "data:image/png;base64," + base64.b64encode(data).decode()

    first, again = await pool.decode_bytes(data), await pool.decode_bytes(data)
    unlike = await pool.decode_bytes(other)
    inline, inline_again = await pool.decode_url(url), await pool.decode_url(url)
    pool.close()

    assert first is again
    assert inline is inline_again
    assert first.fingerprint == inline.fingerprint != unlike.fingerprint
    assert decoded == 3


async def test_a_refused_file_is_refused_again() -> None:
    pool = DecodePool(ImageLimits(), workers=1, recent_bytes=1 << 20)
    for _ in range(2):
        with pytest.raises(ImageError):
            await pool.decode_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 40)
    pool.close()
