import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import DataUrlError, ImageBytesError
from server.ingest.data_url import decode_data_url

MAX_BYTES = 1_000


@given(st.binary(max_size=MAX_BYTES))
def test_round_trip(data: bytes) -> None:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert decode_data_url(url, max_bytes=MAX_BYTES) == data


@given(st.text(max_size=80))
def test_any_text_gives_bytes_or_an_error(text: str) -> None:
    for url in (text, "data:image/png;base64," + text):
        with contextlib.suppress(DataUrlError, ImageBytesError):
            assert isinstance(decode_data_url(url, max_bytes=MAX_BYTES), bytes)


@pytest.mark.parametrize("header", ["data:image/svg+xml;base64,", "DATA:Image/X-foo;BASE64,"])
def test_scheme_and_type_are_caseless_and_the_type_is_not_believed(header: str) -> None:
    assert decode_data_url(header + "QUJD", max_bytes=MAX_BYTES) == b"ABC"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:",
        "data:,QUJD",
        "data:text/plain;base64,QUJD",
        "data:image/png,QUJD",
        "data:image/png;charset=utf-8;base64,QUJD",
        "data:image/;base64,QUJD",
        " data:image/png;base64,QUJD",
        "data:image/png;base64,QUJ",
        "data:image/png;base64,QUI",
        "data:image/png;base64,QUJD\n",
        "data:image/png;base64,QU JD",
        "data:image/png;base64,QU-_",
        "data:image/png;base64,QUJD====",
        "data:image/png;base64,=QUJD",
        "data:image/png;base64,QUJÐ",
        "data:image/png;base64,%51UJD",
        "data:image/" + "a" * 200 + ";base64,QUJD",
        "file:///etc/passwd",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(DataUrlError):
        decode_data_url(url, max_bytes=MAX_BYTES)


def test_size_is_checked_before_decoding() -> None:
    # Not base64 at all: had it been decoded, the error would be another one.
    with pytest.raises(ImageBytesError) as raised:
        decode_data_url("data:image/png;base64," + "!" * 4_000, max_bytes=MAX_BYTES)
    assert (raised.value.limit_bytes, raised.value.got_bytes) == (MAX_BYTES, 3_000)


@pytest.mark.parametrize("extra", [0, 1])
def test_size_is_exact_at_the_limit(extra: int) -> None:
    url = "data:image/png;base64," + base64.b64encode(b"x" * (MAX_BYTES + extra)).decode()
    if extra:
        with pytest.raises(ImageBytesError):
            decode_data_url(url, max_bytes=MAX_BYTES)
    else:
        assert len(decode_data_url(url, max_bytes=MAX_BYTES)) == MAX_BYTES
