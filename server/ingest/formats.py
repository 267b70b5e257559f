"""Which formats are decoded, told apart by their first bytes and never by a declared type.

Each format knows whether a file is all there. Decoders are lenient about a missing end: they show
what they have, and a moderator that judges the upper half of a picture has judged another picture.
So the structure is walked first, block by block, without decoding anything.
"""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_SCAN_MARKER = b"\xff\xda"
_JPEG_END_OF_IMAGE = b"\xff\xd9"
_BMP_UNCOMPRESSED = (0, 3)
"""The compression codes of plain rows and of plain rows with bit masks."""
_AVIF_BRANDS = (b"avif", b"avis")
_TIFF_MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size a header claims, in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One decodable format.

    `matches` looks at the first bytes, the others at the whole file. A file whose blocks make no
    sense may pass as complete: the decoder is who calls it corrupt. `canvas` is given where Pillow
    allocates the picture, or corrects its size, as soon as it opens the file, `scans` where a file
    can make the decoder pass over all pixels many times.
    """

    name: str
    plugin: type[ImageFile.ImageFile]
    matches: Callable[[bytes], bool]
    is_complete: Callable[[bytes], bool]
    canvas: Callable[[bytes], Canvas | None] | None = None
    scans: Callable[[bytes], int] | None = None


def decodable_formats() -> tuple[ImageFormat, ...]:
    """The formats that this build of Pillow decodes; AVIF and WebP depend on how it was built."""
    optional = {"AVIF": "avif", "WebP": "webp"}
    return tuple(
        candidate
        for candidate in _FORMATS
        if candidate.name not in optional or features.check_module(optional[candidate.name])
    )


def _png_is_complete(data: bytes) -> bool:
    position = len(_PNG_MAGIC)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return position + 12 + length <= len(data)
        position += 12 + length
    return False


def _jpeg_is_complete(data: bytes) -> bool:
    scan = _jpeg_first_scan(data)
    # Inside a scan every 0xFF that is data is followed by a zero, so this marker is the real end;
    # an embedded thumbnail's lies before the scan.
    return scan is not None and data.find(_JPEG_END_OF_IMAGE, scan) >= 0


def _jpeg_scans(data: bytes) -> int:
    scan = _jpeg_first_scan(data)
    if scan is None:
        return 0
    end = data.find(_JPEG_END_OF_IMAGE, scan)
    return data.count(_JPEG_SCAN_MARKER, scan, end if end >= 0 else len(data))


def _jpeg_first_scan(data: bytes) -> int | None:
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if marker == _JPEG_SCAN_MARKER[1]:
            return position
        if marker == 0xFF:
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _webp_is_complete(data: bytes) -> bool:
    return len(data) >= 12 and len(data) >= 8 + int.from_bytes(data[4:8], "little")


def _webp_canvas(data: bytes) -> Canvas | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return Canvas(
            int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        )
    if kind == b"VP8 " and len(data) >= 30:
        return Canvas(
            int.from_bytes(data[26:28], "little") & 0x3FFF,
            int.from_bytes(data[28:30], "little") & 0x3FFF,
        )
    if kind == b"VP8L" and len(data) >= 25:
        packed = int.from_bytes(data[21:25], "little")
        return Canvas((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
    return None


def _gif_canvas(data: bytes) -> Canvas | None:
    # Pillow enlarges a canvas that its first frame does not fit on, so that zero is lost.
    if len(data) < 10:
        return None
    return Canvas(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"))


def _gif_is_complete(data: bytes) -> bool:
    position = 13 + _gif_palette_bytes(data[10]) if len(data) > 13 else len(data)
    while position < len(data):
        block = data[position]
        if block == 0x3B:
            return True
        if block == 0x21:
            position += 2
        elif block == 0x2C:
            if position + 10 > len(data):
                return False
            position += 11 + _gif_palette_bytes(data[position + 9])
        else:
            # Stray bytes between blocks are the decoder's business.
            position += 1
            continue
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    return False


def _gif_palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 0x07) + 1) if flags & 0x80 else 0


def _avif_is_complete(data: bytes) -> bool:
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 0:  # the last box reaches to the end of the file, wherever that is
            return True
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length < 8:
            return True
        position += length
    return position == len(data)


def _bmp_is_complete(data: bytes) -> bool:
    # The decoder notices every missing pixel; only the padding of the last row escapes it.
    if len(data) < 54 or int.from_bytes(data[14:18], "little") < 40:
        return True
    compression = int.from_bytes(data[30:34], "little")
    if compression not in _BMP_UNCOMPRESSED:
        return True
    width = int.from_bytes(data[18:22], "little")
    height = abs(int.from_bytes(data[22:26], "little", signed=True))
    row_bits = width * int.from_bytes(data[28:30], "little")
    row_bytes = (row_bits + 31) // 32 * 4
    return len(data) >= int.from_bytes(data[10:14], "little") + row_bytes * height


def _tiff_is_complete(data: bytes) -> bool:
    """TIFF has no end and no order: its decoder finds what is missing by its offset."""
    return len(data) >= 8


_FORMATS = (
    ImageFormat(
        "JPEG",
        JpegImagePlugin.JpegImageFile,
        lambda head: head.startswith(_JPEG_MAGIC),
        _jpeg_is_complete,
        scans=_jpeg_scans,
    ),
    ImageFormat(
        "PNG",
        PngImagePlugin.PngImageFile,
        lambda head: head.startswith(_PNG_MAGIC),
        _png_is_complete,
    ),
    ImageFormat(
        "WebP",
        WebPImagePlugin.WebPImageFile,
        lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
        _webp_is_complete,
        canvas=_webp_canvas,
    ),
    ImageFormat(
        "GIF",
        GifImagePlugin.GifImageFile,
        lambda head: head.startswith((b"GIF87a", b"GIF89a")),
        _gif_is_complete,
        canvas=_gif_canvas,
    ),
    ImageFormat(
        "BMP",
        BmpImagePlugin.BmpImageFile,
        lambda head: head.startswith(b"BM"),
        _bmp_is_complete,
    ),
    ImageFormat(
        "TIFF",
        TiffImagePlugin.TiffImageFile,
        lambda head: head.startswith(_TIFF_MAGICS),
        _tiff_is_complete,
    ),
    ImageFormat(
        "AVIF",
        AvifImagePlugin.AvifImageFile,
        lambda head: head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS,
        _avif_is_complete,
    ),
)
