"""How large a picture may be, and how much of it is kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Checked on the encoded bytes and on the header, before a single pixel is decoded.

    A decoded pixel costs up to eight bytes while it is converted, so `max_pixels` bounds what one
    decoding thread can hold; `working_side_px` bounds what stays while a picture waits for the
    engine. `max_pixels_per_byte` refuses files that blow up, and only counts for pictures of more
    than `expansion_exempt_pixels`: a small flat picture harms nobody and compresses without end.
    A large JPEG is decoded at a half, quarter or eighth as long as its longer side keeps
    `draft_side_px`, at most `working_side_px`: a photo of twelve megapixels at a fourth, in a sixth
    of the time, and still larger than what most models look at. Fingerprints depend on both.
    `max_scans` bounds how often a progressive JPEG makes the decoder pass over the whole picture
    (encoders write about ten scans).
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side_px: int = 16_384
    max_pixels_per_byte: int = 500
    expansion_exempt_pixels: int = 1_048_576
    max_scans: int = 100
    working_side_px: int = 2_000
    draft_side_px: int = 1_000
