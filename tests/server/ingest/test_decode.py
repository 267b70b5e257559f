import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

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
from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits

Encode = Callable[..., bytes]

ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate TIFF": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "AVIF": ("AVIF", {}),
}


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly any pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 64)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_format_decodes_to_rgb_of_its_own_size(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image, name: str
) -> None:
    image_format, options = ENCODINGS[name]
    checked = decoder.decode(encode(noise, image_format, **options))
    assert checked.image.mode == "RGB"
    assert checked.image.size == (checked.width, checked.height) == noise.size
    assert checked.image_format.upper() == image_format


@pytest.mark.parametrize("name", ["PNG", "lossless WebP", "BMP", "TIFF", "LZW TIFF"])
def test_lossless_formats_keep_every_pixel(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image, name: str
) -> None:
    image_format, options = ENCODINGS[name]
    checked = decoder.decode(encode(noise, image_format, **options))
    assert checked.image.tobytes() == noise.tobytes()


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_truncation_is_refused(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image, name: str
) -> None:
    image_format, options = ENCODINGS[name]
    whole = encode(noise, image_format, **options)
    for length in range(len(whole)):
        with pytest.raises(ImageError):
            decoder.decode(whole[:length])


def test_animation_cut_after_its_first_frame_is_refused(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    frames = [noise.rotate(90), noise.rotate(180)]
    whole = encode(noise, "GIF", save_all=True, append_images=frames)
    with pytest.raises(TruncatedImageError) as raised:
        decoder.decode(whole[: len(whole) // 2])
    assert raised.value.image_format == "GIF"


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation_is_judged(
    decoder: ImageDecoder, encode: Encode, image_format: str
) -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(red, image_format, save_all=True, append_images=[blue], **options)
    assert decoder.decode(data).image.getpixel((4, 4)) == (255, 0, 0)


def test_declared_type_is_not_asked_for_and_content_decides(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    assert decoder.decode(encode(noise, "WEBP")).image_format == "WebP"


@pytest.mark.parametrize(
    "data",
    [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7 ", b"P6 1 1 255\n\0\0\0", b"\0" * 99],
)
def test_other_content_is_refused_with_the_supported_formats(
    decoder: ImageDecoder, data: bytes
) -> None:
    with pytest.raises(ImageFormatError) as raised:
        decoder.decode(data)
    assert "JPEG" in raised.value.supported
    assert "PNG" in raised.value.supported


def test_formats_that_pillow_knows_and_we_do_not_allow_are_refused(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    for image_format in ("PPM", "ICO", "TGA", "PCX", "JPEG2000", "SGI"):
        with pytest.raises(ImageFormatError):
            decoder.decode(encode(noise, image_format))


def test_no_bytes(decoder: ImageDecoder) -> None:
    with pytest.raises(EmptyImageError):
        decoder.decode(b"")


def test_byte_cap_says_limit_and_size(encode: Encode, noise: Image.Image) -> None:
    data = encode(noise, "PNG")
    with pytest.raises(ImageBytesError) as raised:
        ImageDecoder(ImageLimits(max_bytes=len(data) - 1)).decode(data)
    assert (raised.value.limit_bytes, raised.value.got_bytes) == (len(data) - 1, len(data))
    assert ImageDecoder(ImageLimits(max_bytes=len(data))).decode(data).width == 31


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0), (20_000, 4), (4, 2**31 - 1)])
def test_sides_are_checked_in_the_header(decoder: ImageDecoder, width: int, height: int) -> None:
    with pytest.raises((ImageSideError, CorruptImageError)):
        decoder.decode(png_header(width, height))


def test_pixels_are_checked_in_the_header(decoder: ImageDecoder) -> None:
    with pytest.raises(ImagePixelsError) as raised:
        decoder.decode(png_header(16_000, 16_000))
    assert (raised.value.width, raised.value.height) == (16_000, 16_000)


def test_an_empty_gif_canvas_is_refused_though_its_frame_has_a_size(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    data = encode(noise, "GIF")
    with pytest.raises(ImageSideError):
        decoder.decode(data[:6] + bytes(4) + data[10:])


def test_webp_canvas_is_checked_before_pillow_allocates_it(decoder: ImageDecoder) -> None:
    chunk = struct.pack("<4sIB3x", b"VP8X", 10, 0) + (15_000 - 1).to_bytes(3, "little") * 2
    data = b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
    with pytest.raises(ImagePixelsError):
        decoder.decode(data)


def test_a_file_that_expands_too_much_is_refused_before_decoding(
    decoder: ImageDecoder, encode: Encode
) -> None:
    data = encode(Image.new("L", (6_000, 6_000)), "PNG", optimize=True)
    with pytest.raises(ImageExpansionError) as raised:
        decoder.decode(data)
    assert raised.value.pixels == 36_000_000
    assert raised.value.got_bytes == len(data)


def test_a_small_flat_picture_may_expand(decoder: ImageDecoder, encode: Encode) -> None:
    assert decoder.decode(encode(Image.new("L", (1_000, 1_000)), "PNG")).width == 1_000


def test_a_jpeg_with_endless_scans_is_refused(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    data = encode(noise, "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    first_scan = data[scan : data.index(b"\xff\xda", scan + 2)]
    with pytest.raises(ImageScansError) as raised:
        decoder.decode(data[:scan] + first_scan * 200 + data[scan:])
    assert raised.value.got_scans > 200


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_exif_orientation_is_undone(
    decoder: ImageDecoder, encode: Encode, orientation: int, image_format: str
) -> None:
    """The stored corner that the orientation names as top left becomes top left."""
    stored = Image.new("RGB", (32, 16), "white")
    right, bottom = 16, 8
    corner = {
        1: (0, 0),
        2: (right, 0),
        3: (right, bottom),
        4: (0, bottom),
        5: (0, 0),
        6: (0, bottom),
        7: (right, bottom),
        8: (right, 0),
    }[orientation]
    stored.paste("red", (*corner, corner[0] + 16, corner[1] + 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = decoder.decode(encode(stored, image_format, exif=exif, quality=95)).image
    assert image.size == ((16, 32) if orientation >= 5 else (32, 16))
    red, green, _ = image.getpixel((3, 3))
    assert red > 200
    assert green < 80


def test_broken_metadata_does_not_cost_the_picture(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    data = encode(noise, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert decoder.decode(data).image.size == noise.size


@pytest.mark.parametrize(
    ("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0)), ("PA", None), ("P", None)]
)
def test_transparency_shows_white(
    decoder: ImageDecoder, encode: Encode, mode: str, colour: Any
) -> None:
    if mode in ("P", "PA"):
        image = Image.new("P", (8, 8), 0)
        image.putpalette([0, 0, 0, 255, 0, 0])
        data = encode(image, "PNG", transparency=0)
    else:
        data = encode(Image.new(mode, (8, 8), colour), "PNG")
    assert decoder.decode(data).image.getpixel((4, 4)) == (255, 255, 255)


def test_half_transparency_is_mixed_with_white(decoder: ImageDecoder, encode: Encode) -> None:
    data = encode(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG")
    assert decoder.decode(data).image.getpixel((0, 0)) == (127, 127, 127)


def test_sixteen_bit_grey_keeps_its_shades(decoder: ImageDecoder, encode: Encode) -> None:
    ramp = np.linspace(0, 65_535, 256, dtype=np.uint16).reshape(16, 16)
    for image_format in ("PNG", "TIFF"):
        checked = decoder.decode(encode(Image.fromarray(ramp), image_format))
        assert np.array_equal(np.asarray(checked.image)[:, :, 0], (ramp >> 8).astype(np.uint8))


def test_float_grey_is_stretched_and_survives_nan(decoder: ImageDecoder, encode: Encode) -> None:
    values = np.array([[0.0, 0.5], [1.0, float("nan")]], dtype=np.float32)
    pixels = np.asarray(decoder.decode(encode(Image.fromarray(values), "TIFF")).image)[:, :, 0]
    assert pixels.tolist() == [[0, 127], [255, 0]]


def test_flat_integer_grey_is_black(decoder: ImageDecoder, encode: Encode) -> None:
    data = encode(Image.new("I", (3, 3), 70_000), "TIFF")
    assert decoder.decode(data).image.getpixel((1, 1)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(decoder: ImageDecoder, encode: Encode, mode: str) -> None:
    image_format = {"CMYK": "JPEG", "YCbCr": "TIFF"}.get(mode, "PNG")
    source = Image.new("RGB", (16, 16), "white").convert(mode)
    checked = decoder.decode(encode(source, image_format))
    assert checked.image.mode == "RGB"
    assert min(checked.image.getpixel((8, 8))) > 250


def test_large_pictures_are_kept_at_working_size(encode: Encode) -> None:
    limits = ImageLimits(working_side_px=64)
    picture = Image.linear_gradient("L").resize((200, 100)).convert("RGB")
    for image_format in ("PNG", "JPEG"):
        checked = ImageDecoder(limits).decode(encode(picture, image_format))
        assert checked.image.size == (64, 32)
        assert (checked.width, checked.height) == (200, 100)
        expected = np.asarray(picture.resize((64, 32)), dtype=int)
        assert np.abs(np.asarray(checked.image, dtype=int) - expected).max() < 12


@pytest.mark.parametrize(
    ("draft_side_px", "side"), [(2_000, 300), (200, 300), (150, 150), (70, 75), (8, 38)]
)
def test_a_jpeg_is_decoded_no_smaller_than_the_draft_size(
    encode: Encode, draft_side_px: int, side: int
) -> None:
    data = encode(Image.linear_gradient("L").resize((300, 200)).convert("RGB"), "JPEG")
    checked = ImageDecoder(ImageLimits(draft_side_px=draft_side_px)).decode(data)
    assert checked.image.width == side
    assert (checked.width, checked.height) == (300, 200)


def test_the_draft_size_never_makes_a_picture_larger_than_the_working_size(encode: Encode) -> None:
    data = encode(Image.linear_gradient("L").resize((300, 200)).convert("RGB"), "JPEG")
    limits = ImageLimits(working_side_px=100, draft_side_px=200)
    assert ImageDecoder(limits).decode(data).image.width == 100


def test_extreme_sides_keep_at_least_one_pixel(encode: Encode) -> None:
    data = encode(Image.new("RGB", (4_000, 1)), "PNG")
    checked = ImageDecoder(ImageLimits(working_side_px=64)).decode(data)
    assert checked.image.size == (64, 1)


def test_fingerprint_is_of_the_pixels_and_not_of_the_file(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    png = decoder.decode(encode(noise, "PNG"))
    bmp = decoder.decode(encode(noise, "BMP"))
    turned = decoder.decode(encode(noise.rotate(180), "PNG"))
    assert png.fingerprint == bmp.fingerprint
    assert png.fingerprint != turned.fingerprint


def test_a_damaged_file_is_corrupt_and_names_its_format(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image
) -> None:
    data = bytearray(encode(noise, "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(CorruptImageError) as raised:
        decoder.decode(bytes(data))
    assert raised.value.image_format == "PNG"


def test_running_out_of_memory_is_a_refusal(
    decoder: ImageDecoder, encode: Encode, noise: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Image.Image) -> None:
        raise MemoryError

    data = encode(noise, "BMP")
    monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", no_memory)
    with pytest.raises(CorruptImageError):
        decoder.decode(data)


def test_input_is_not_kept_open(decoder: ImageDecoder, encode: Encode, noise: Image.Image) -> None:
    checked = decoder.decode(encode(noise, "GIF"))
    assert not hasattr(checked.image, "fp")
    assert io.BytesIO(checked.image.tobytes()).getbuffer().nbytes == 31 * 24 * 3
