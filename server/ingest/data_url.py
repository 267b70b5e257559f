"""Pictures written into the request: ``data:image/<type>;base64,<payload>``.

Parsing is strict, since what one parser skips and another keeps hides pictures from moderation: no
line breaks, no other alphabet, no missing padding. The declared type is not believed; the content
decides (see `server.ingest.formats`).
"""

import binascii
import re

from server.errors import DataUrlError, ImageBytesError

_HEADER = re.compile(r"data:image/[a-z0-9][a-z0-9.+-]{0,63};base64,", re.IGNORECASE)
_LONGEST_HEADER = 96
"""Characters looked at for the header, so that a payload without one is not scanned for it."""


def decode_data_url(url: str, *, max_bytes: int) -> bytes:
    """The encoded picture inside `url`.

    Raises `DataUrlError`, or `ImageBytesError` before anything is decoded when the payload's length
    already says that it is more than `max_bytes`.
    """
    header = _HEADER.match(url, 0, _LONGEST_HEADER)
    if header is None:
        raise DataUrlError
    got_bytes = _decoded_bytes(url, header.end())
    if got_bytes > max_bytes:
        raise ImageBytesError(limit_bytes=max_bytes, got_bytes=got_bytes)
    if url.endswith("==="):
        # The strict mode below lets a whole group of padding pass.
        raise DataUrlError
    try:
        return binascii.a2b_base64(url[header.end() :].encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise DataUrlError from error


def _decoded_bytes(url: str, start: int) -> int:
    padding = 2 if url.endswith("==") else 1 if url.endswith("=") else 0
    return max(0, (len(url) - start) // 4 * 3 - padding)
