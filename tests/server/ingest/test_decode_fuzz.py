"""Whatever the bytes are, decoding gives a picture or an `ImageError`."""

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from server.errors import ImageError
from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits

LIMITS = ImageLimits(max_pixels=250_000, working_side_px=64)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def decoder() -> ImageDecoder:
    return ImageDecoder(LIMITS)


def whole_file(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(buffer, image_format)
    return buffer.getvalue()


WHOLE_FILES = {image_format: whole_file(image_format) for image_format in FORMATS}
MAGICS = tuple(data[:16] for data in WHOLE_FILES.values())


def assert_picture_or_error(decoder: ImageDecoder, data: bytes) -> None:
    try:
        checked = decoder.decode(data)
    except ImageError:
        return
    assert checked.image.mode == "RGB"
    assert 1 <= max(checked.image.size) <= LIMITS.working_side_px
    assert checked.width * checked.height <= LIMITS.max_pixels


@RELAXED
@given(data=st.binary(max_size=400))
def test_any_bytes(decoder: ImageDecoder, data: bytes) -> None:
    assert_picture_or_error(decoder, data)


@RELAXED
@given(magic=st.sampled_from(MAGICS), rest=st.binary(max_size=400))
def test_any_bytes_behind_a_known_beginning(
    decoder: ImageDecoder, magic: bytes, rest: bytes
) -> None:
    assert_picture_or_error(decoder, magic + rest)


@RELAXED
@given(
    image_format=st.sampled_from(FORMATS),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_edited_files(
    decoder: ImageDecoder, image_format: str, edits: list[tuple[float, int]]
) -> None:
    data = bytearray(WHOLE_FILES[image_format])
    for place, value in edits:
        data[int(place * len(data))] = value
    assert_picture_or_error(decoder, bytes(data))


@RELAXED
@given(
    image_format=st.sampled_from(FORMATS),
    edits=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_edited_headers(
    decoder: ImageDecoder, image_format: str, edits: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE_FILES[image_format])
    for place, value in edits:
        data[min(place, len(data) - 1)] = value
    assert_picture_or_error(decoder, bytes(data))
