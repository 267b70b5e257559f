"""Decoded pictures of files that came lately: the same file often comes again within minutes.

Known by the SHA-256 of what was sent, so that only the very same bytes are taken for the same
picture. A picture that was refused is not kept: whoever sends it again hears the reason again.
"""

import hashlib
from collections import OrderedDict

from server.ingest.decode import CheckedImage

MAX_SOURCE_BYTES = 256 * 1024
"""Larger files are always decoded: hashing them would hold up the event loop."""
_BYTES_A_PIXEL = 3


class RecentPictures:
    """At most `max_bytes` of pixels, the longest unused forgotten first.

    Used from the event loop's thread alone. No picture takes more than an eighth of the room.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pictures: OrderedDict[bytes, CheckedImage] = OrderedDict()
        self.used_bytes = 0

    def key(self, source: bytes | str) -> bytes | None:
        """What a file, or a data URL, is known by; None for one that is not kept."""
        if self._max_bytes == 0 or len(source) > MAX_SOURCE_BYTES:
            return None
        return hashlib.sha256(source.encode() if isinstance(source, str) else source).digest()

    def get(self, key: bytes | None) -> CheckedImage | None:
        """The picture known by `key`; None if it was not kept."""
        if key is None or (found := self._pictures.get(key)) is None:
            return None
        self._pictures.move_to_end(key)
        return found

    def put(self, key: bytes | None, picture: CheckedImage) -> None:
        """Keep the picture, unless it is large or has no key."""
        if key is None or key in self._pictures or _bytes_of(picture) > self._max_bytes // 8:
            return
        self._pictures[key] = picture
        self.used_bytes += _bytes_of(picture)
        while self.used_bytes > self._max_bytes:
            _, oldest = self._pictures.popitem(last=False)
            self.used_bytes -= _bytes_of(oldest)


def _bytes_of(picture: CheckedImage) -> int:
    return picture.image.width * picture.image.height * _BYTES_A_PIXEL
