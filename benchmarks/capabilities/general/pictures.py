"""Opens the pictures of general benchmarks: from a file, a zip's member, or a row of a table.

Nothing is decoded before it is asked for. Decoding is the service's own, so a benchmark sees what
the service would see: upright, opaque RGB, and every failure in one line.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from benchmarks.errors import MeasurementError
from server.errors import ImageError
from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")

_LIMITS = ImageLimits()


def open_file(path: Path) -> Image.Image:
    """The picture in a file; raises `MeasurementError` when it can't be read or decoded."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"the picture {path} can't be read: {error.strerror}") from error
    return _decoded(data, str(path))


def open_member(archive: Path, member: str) -> Image.Image:
    """The picture of that name in a zip file; raises `MeasurementError`."""
    name = f"{archive}:{member}"
    try:
        with zipfile.ZipFile(archive) as opened:
            # Before reading: a few bytes of a zip can unpack to more than there is memory.
            if opened.getinfo(member).file_size > _LIMITS.max_bytes:
                raise MeasurementError(f"the picture {name} is larger than is decoded")
            data = opened.read(member)
    # zipfile raises a bare RuntimeError for an encrypted member.
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise MeasurementError(f"the picture {name} can't be read: {error}") from error
    return _decoded(data, name)


def open_cell(rows: Any, index: int, column: str, name: str) -> Image.Image:
    """The picture in row `index` of a `datasets.Dataset`, stored undecoded; raises
    `MeasurementError`.
    """
    cell = rows[index][column]
    if isinstance(cell, Mapping) and cell.get("bytes"):
        return _decoded(bytes(cell["bytes"]), name)
    raise MeasurementError(f"{name} holds no picture")


def picture_named(stem: str, names: Iterable[str]) -> str | None:
    """The one of `names` (paths) that is a picture called `stem`, with or without its ending."""
    wanted = {stem.casefold(), *(f"{stem}{suffix}".casefold() for suffix in PICTURE_SUFFIXES)}
    for name in names:
        last = PurePosixPath(name).name.casefold()
        if last in wanted and last.endswith(PICTURE_SUFFIXES):
            return name
    return None


def _decoded(data: bytes, name: str) -> Image.Image:
    try:
        return ImageDecoder(_LIMITS).decode(data).image
    except ImageError as error:
        raise MeasurementError(f"the picture {name} can't be decoded: {error}") from error
