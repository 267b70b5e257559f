"""From bytes to one checked RGB picture; the only place where untrusted pixels are decoded.

Every failure is an `ImageError`: Pillow's many exceptions and its warnings stay in here. The order
matters: bytes, format, header, completeness, and only then pixels.

Large JPEGs are decoded at a half, quarter or eighth (the format's own draft mode) as long as the
result is no smaller than the draft size, and every picture larger than the working size is then
reduced to it. Models look at far smaller pictures still, and a
waiting picture of fifty megapixels would hold two hundred megabytes. The fingerprint is taken after
that, of the pixels that are judged.
"""

import math
import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from server.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageBytesError,
    ImageError,
    ImageExpansionError,
    ImageFormatError,
    ImagePixelsError,
    ImageScansError,
    ImageSideError,
    TruncatedImageError,
)
from server.ingest.fingerprint import fingerprint
from server.ingest.formats import ImageFormat, decodable_formats
from server.ingest.limits import ImageLimits

_LONGEST_MAGIC = 16
_GREY_16_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_GREY_WITHOUT_WHITE = frozenset({"I", "F"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; 1 and anything unknown stay as they are."""


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A picture that may be judged.

    `image` is RGB, upright, opaque, its longer side at most `ImageLimits.working_side_px`;
    `image_format` is what the content was; `width` and `height` are the file's own, in pixels.
    """

    image: Image.Image
    image_format: str
    width: int
    height: int
    fingerprint: str


class ImageDecoder:
    """Decodes pictures within `limits`; safe to call from several threads at once."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._formats = decodable_formats()
        # Pillow warns of odd metadata and of sizes that are checked here anyway. A filter inside
        # `decode` would be a race: Python's warning filters are shared by all threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def decode(self, data: bytes) -> CheckedImage:
        """Decode the first frame of `data`; raises an `ImageError` and nothing else."""
        image_format = self._identify(data)
        try:
            return self._decode(data, image_format)
        except ImageError:
            raise
        except Exception as error:
            if not image_format.is_complete(data):
                raise TruncatedImageError(image_format.name) from error
            # Damaged files make decoders raise whatever they happen to run into, from SyntaxError
            # to MemoryError; each of them means that there is no picture.
            raise CorruptImageError(image_format.name) from error

    def _identify(self, data: bytes) -> ImageFormat:
        if not data:
            raise EmptyImageError
        if len(data) > self._limits.max_bytes:
            raise ImageBytesError(limit_bytes=self._limits.max_bytes, got_bytes=len(data))
        head = data[:_LONGEST_MAGIC]
        for image_format in self._formats:
            if image_format.matches(head):
                return image_format
        raise ImageFormatError(tuple(known.name for known in self._formats))

    def _decode(self, data: bytes, image_format: ImageFormat) -> CheckedImage:
        self._check_before_opening(data, image_format)
        with image_format.plugin(BytesIO(data)) as source:
            width, height = source.size
            self._check_size(width, height, len(data))
            if not image_format.is_complete(data):
                raise TruncatedImageError(image_format.name)
            self._draft(source)
            source.load()
            image = _upright(self._reduced(_opaque_rgb(source)), _orientation(source))
        return CheckedImage(
            image=image,
            image_format=image_format.name,
            width=width,
            height=height,
            fingerprint=fingerprint(image),
        )

    def _check_before_opening(self, data: bytes, image_format: ImageFormat) -> None:
        if image_format.canvas is not None:
            canvas = image_format.canvas(data)
            if canvas is not None:
                self._check_size(canvas.width, canvas.height, len(data))
        if image_format.scans is not None:
            got_scans = image_format.scans(data)
            if got_scans > self._limits.max_scans:
                raise ImageScansError(limit_scans=self._limits.max_scans, got_scans=got_scans)

    def _check_size(self, width: int, height: int, got_bytes: int) -> None:
        limits = self._limits
        if not (0 < width <= limits.max_side_px and 0 < height <= limits.max_side_px):
            raise ImageSideError(limit_px=limits.max_side_px, width=width, height=height)
        pixels = width * height
        if pixels > limits.max_pixels:
            raise ImagePixelsError(limit_pixels=limits.max_pixels, width=width, height=height)
        if pixels > max(limits.expansion_exempt_pixels, got_bytes * limits.max_pixels_per_byte):
            raise ImageExpansionError(
                limit_pixels_per_byte=limits.max_pixels_per_byte,
                got_bytes=got_bytes,
                pixels=pixels,
            )

    def _draft(self, source: ImageFile.ImageFile) -> None:
        """Let a JPEG that is at least twice what is wanted of it be decoded at a fraction of it."""
        wanted_px = min(self._limits.draft_side_px, self._limits.working_side_px)
        shrink = wanted_px / max(source.size)
        if shrink < 1:
            source.draft(
                None, (math.ceil(source.width * shrink), math.ceil(source.height * shrink))
            )

    def _reduced(self, image: Image.Image) -> Image.Image:
        shrink = self._limits.working_side_px / max(image.size)
        if shrink >= 1:
            return image
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _opaque_rgb(image: Image.Image) -> Image.Image:
    """Any mode that Pillow decodes to RGB; transparency shows white, as on a page."""
    if image.mode in _GREY_16_BIT:
        # Pillow's own conversion clips at 255 and turns nearly every such picture white.
        high_bytes = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.mode in _GREY_WITHOUT_WHITE:
        return _stretched_grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    page = Image.new("RGBA", layer.size, "white")
    page.alpha_composite(layer)
    return page.convert("RGB")


def _stretched_grey(image: Image.Image) -> Image.Image:
    """32-bit integers and floats have no agreed white: their own range becomes 0 to 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low = float(values.min())
    span = float(values.max()) - low
    if span <= 0:
        return Image.new("L", image.size, 0)
    return Image.fromarray(((values - low) / span * 255).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Cameras and editors write broken metadata around sound pictures; those stay as they are.
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
