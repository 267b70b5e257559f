"""Requests with something wrong, made on the spot: see `test_malformed.py`, which sends them."""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

MIB = 1024 * 1024
ENCODINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {}),
)


@dataclass(frozen=True)
class Malformed:
    """One request and what is wrong with it."""

    name: str
    content: bytes
    content_type: str = "application/json"
    method: str = "POST"
    path: str = "/v1/moderations"


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def as_data_url(name: str, data: bytes) -> Malformed:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return as_json(name, {"input": [{"type": "image_url", "image_url": {"url": url}}]})


def as_json(name: str, body: object) -> Malformed:
    return Malformed(name, json.dumps(body).encode())


def as_form(name: str, *parts: tuple[str, bytes], ending: bytes = b"--edge--\r\n") -> Malformed:
    body = b"".join(
        b"--edge\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return Malformed(name, body + ending, "multipart/form-data; boundary=edge")


def as_upload(name: str, data: bytes) -> Malformed:
    return as_form(name, ('name="file"; filename="a.jpg"', data))


def truncated_images() -> Iterator[Malformed]:
    pixels = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for image_format, options in ENCODINGS:
        whole = encode(Image.fromarray(pixels), image_format, **options)
        lengths = {len(whole) * share // 16 for share in range(16)}
        lengths |= {1, 4, 12, 20, len(whole) - 1, len(whole) - 2, len(whole) - 9}
        for length in sorted(lengths):
            name = f"{image_format} {options} cut to {length} of {len(whole)}"
            yield as_upload(name, whole[:length])
            if length % 2:
                yield as_data_url(f"{name}, inline", whole[:length])


def wrong_magic() -> Iterator[Malformed]:
    rng = random.Random(11)
    picture = Image.new("RGB", (30, 30), "green")
    whole = {image_format: encode(picture, image_format) for image_format, _ in ENCODINGS}
    for head_of, head in whole.items():
        for rest_of, rest in whole.items():
            if head_of != rest_of:
                yield as_upload(f"{head_of} head on a {rest_of}", head[:12] + rest[12:])
        yield as_upload(f"{head_of} with a broken first byte", b"?" + head[1:])
        yield as_upload(f"{head_of} head on noise", head[:16] + rng.randbytes(500))
    for image_format in ("ICO", "PPM", "PCX", "TGA", "JPEG2000", "SGI", "PDF", "EPS", "ICNS"):
        yield as_data_url(f"{image_format} is not allowed", encode(picture, image_format))
    for name, data in {
        "svg": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "html": b"<!doctype html><img src=x onerror=alert(1)>",
        "zip": b"PK\x03\x04" + bytes(60),
        "heic": b"\0\0\0\x18ftypheic" + bytes(60),
        "noise": rng.randbytes(1_000),
        "zeros": bytes(1_000),
        "text": b"just words",
    }.items():
        yield as_data_url(name, data)


def png(width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def sized_headers(width: int, height: int) -> Iterator[tuple[str, bytes]]:
    """Whole small files whose headers were edited to claim this size."""
    small = Image.new("RGB", (16, 16), "green")
    yield "PNG", png(width, height, zlib.compress(bytes(64)))
    gif = encode(small, "GIF")
    yield "GIF", gif[:6] + struct.pack("<HH", width & 0xFFFF, height & 0xFFFF) + gif[10:]
    bmp = encode(small, "BMP")
    yield "BMP", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
    jpeg = bytearray(encode(small, "JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    yield "JPEG", bytes(jpeg)
    tiff = encode(small, "TIFF")
    for tag, value in ((256, width), (257, height)):
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff = tiff[: entry + 8] + struct.pack("<I", value) + tiff[entry + 12 :]
    yield "TIFF", tiff
    avif = bytearray(encode(small, "AVIF"))
    box = avif.index(b"ispe") + 8
    avif[box : box + 8] = struct.pack(">II", width, height)
    yield "AVIF", bytes(avif)
    if width > 0 and height > 0:
        canvas = ((width - 1) & 0xFFFFFF).to_bytes(3, "little")
        canvas += ((height - 1) & 0xFFFFFF).to_bytes(3, "little")
        extended = struct.pack("<4sIB3x", b"VP8X", 10, 0) + canvas
        yield "WebP", b"RIFF" + struct.pack("<I", len(extended) + 4) + b"WEBP" + extended


def bombs_and_empty_sizes() -> Iterator[Malformed]:
    for width, height in (
        (0, 0),
        (0, 16),
        (16, 0),
        (60_000, 60_000),
        (65_535, 1),
        (1, 65_535),
        (16_000, 16_000),
        (9_000, 9_000),
    ):
        for image_format, data in sized_headers(width, height):
            yield as_upload(f"{image_format} that claims {width} x {height}", data)
    flat = Image.new("L", (7_000, 7_000))
    for image_format, options in (
        ("PNG", {"optimize": True}),
        ("WEBP", {"lossless": True, "method": 0}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ):
        yield as_upload(f"{image_format} of nothing", encode(flat, image_format, **options))
    yield as_upload("1-bit PNG of nothing", encode(flat.convert("1"), "PNG"))
    deflated = zlib.compress(bytes(40 * MIB), 9)
    yield as_upload("PNG with more pixels than its header says", png(0, 4_000, deflated))
    yield as_upload("empty file", b"")
    yield as_data_url("empty data URL", b"")


def malformed_json() -> Iterator[Malformed]:
    texts = {
        "NaN": '{"input": "a", "x": NaN}',
        "Infinity": '{"input": "a", "x": [Infinity]}',
        "-Infinity": '{"input": "a", "x": {"y": -Infinity}}',
        "NaN input": '{"input": NaN}',
        "overflowing float": '{"input": "a", "x": 1e999}',
        "endless integer": '{"input": "a", "x": ' + "9" * 10_000 + "}",
        "same key twice": '{"input": "a", "input": "b"}',
        "same key twice, escaped": '{"input": "a", "\\u0069nput": "b"}',
        "trailing comma": '{"input": "a",}',
        "single quotes": "{'input': 'a'}",
        "comment": '{"input": "a"} // yes',
        "two bodies": '{"input": "a"}{"input": "b"}',
        "control character": '{"input": "\x01"}',
        "half a surrogate pair": '{"input": "\\ud83d"}',
        "half a pair in a part": '{"input": [{"type": "text", "text": "\\udc00"}]}',
        "unclosed": '{"input": ["a"',
        "empty": "",
        "blank": "   ",
        "word": "input",
        "null": "null",
        "number": "5",
        "string": '"a"',
        "list": '["a"]',
        "deep list": "[" * 200_000,
        "deep input": '{"input": ' + "[" * 5_000 + "]" * 5_000 + "}",
        "deep unknown field": '{"input": "a", "x": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}",
        "two million lists": '{"input": "a", "x": [' + "[]," * 2_000_000 + "[]]}",
        "two million objects": '{"input": "a", "x": [' + "{}," * 2_000_000 + "{}]}",
        "two million numbers": '{"input": [' + "7," * 2_000_000 + "7]}",
    }
    for name, text in texts.items():
        yield Malformed(f"JSON: {name}", text.encode())
    body = b'{"input": "a"}'
    for name, content in {
        "latin-1": '{"input": "\u00fc"}'.encode("latin-1"),
        "UTF-16": body.decode().encode("utf-16"),
        "UTF-32": body.decode().encode("utf-32"),
        "byte order mark": b"\xef\xbb\xbf" + body,
        "overlong": b'{"input": "\xc0\xaf"}',
        "encoded surrogate": b'{"input": "\xed\xa0\x80"}',
        "stray continuation": b'{"input": "\x80"}',
        "zero bytes": bytes(100),
    }.items():
        yield Malformed(f"encoding: {name}", content)
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
        "json",
    ):
        yield Malformed(f"content type {content_type!r}", body, content_type)


def wrong_fields() -> Iterator[Malformed]:
    text = {"type": "text", "text": "a"}
    bodies: list[object] = [{}, {"inputs": "a"}, {"input": "a", "model": 5}]
    bodies += [{"input": value} for value in (None, 1, 0.5, True, {}, "", [], [[]], [[text]])]
    bodies += [{"input": [value]} for value in (None, 1, True, "", [1, 2], {})]
    bodies += [{"input": ["a", text]}, {"input": [text, "a"]}, {"input": ["a"] * 65}]
    bodies += [{"input": "x" * 100_001}, {"input": ["fine", "x" * 100_001]}]
    for part in (
        {"type": "text"},
        {"type": "text", "text": None},
        {"type": "text", "text": ""},
        {"type": "text", "text": ["a"]},
        {"type": "TEXT", "text": "a"},
        {"type": "audio", "audio": "a"},
        {"type": "input_image", "image_url": "data:"},
        {"type": None, "text": "a"},
        {"type": {"text": 1}, "text": "a"},
        {"text": "a"},
        {"type": "image_url"},
        {"type": "image_url", "image_url": None},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        {"type": "image_url", "image_url": {}},
        {"type": "image_url", "image_url": {"url": None}},
        {"type": "image_url", "image_url": {"url": ["data:"]}},
        {"type": "file", "file": {"file_id": "x"}},
    ):
        bodies += [{"input": [part]}, {"input": [text, part]}]
    for options in (
        5,
        [],
        "detail",
        {"detail": 1},
        {"detail": "true"},
        {"per_input": None},
        {"x": 1},
    ):
        bodies.append({"input": "a", "sightward": options})
    for number, body in enumerate(bodies):
        yield as_json(f"fields {number}: {str(body)[:80]}", body)


def bad_urls() -> Iterator[Malformed]:
    for url in (
        "",
        "x",
        "data:",
        "data:image/png",
        "data:image/png,AAAA",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,A",
        "data:image/png;base64,AAA",
        "data:image/png;base64,AA==AA==",
        "data:image/png;base64,AAAA====",
        "data:image/png;base64,AA AA",
        "data:image/png;base64,AAAA\n",
        "data:image/png;base64,----",
        "data:image/png;base64,\u00fc\u00fc\u00fc\u00fc",
        "data:image/png;base32,AAAA",
        "data:text/plain;base64,AAAA",
        "data:application/octet-stream;base64,AAAA",
        "data://image/png;base64,AAAA",
        "http://127.0.0.1:1/cat.png",
        "https://example.com/cat.png",
        "HTTP://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://example.com/cat.png",
        "javascript:alert(1)",
        "data:image/" + "x" * 10_000 + ";base64,AAAA",
    ):
        body = {"input": [{"type": "image_url", "image_url": {"url": url}}]}
        yield as_json(f"URL {url[:60]!r}", body)


def huge_bodies() -> Iterator[Malformed]:
    yield as_data_url("a picture over the byte limit", bytes(21 * MIB))
    yield as_upload("an upload over the byte limit", bytes(21 * MIB))
    yield Malformed("a body over the limit", b'{"input": "' + b"a" * 49 * MIB + b'"}')
    url = "data:image/png;base64," + "!" * (30 * MIB)
    yield as_json(
        "a long URL of no base64", {"input": [{"type": "image_url", "image_url": {"url": url}}]}
    )


def bad_forms() -> Iterator[Malformed]:
    text, file = ('name="input"', b"a"), ('name="file"; filename="a"', b"x")
    yield as_form("no parts")
    yield as_form("only a model", ('name="model"', b"m"))
    yield as_form("a file without a name", ('name="file"', b"x"))
    yield as_form("a file under another name", ('name="image"; filename="a"', b"x"))
    yield as_form("a text as a file", ('name="input"; filename="a"', b"x"))
    yield as_form("an empty text", ('name="input"', b""))
    yield as_form("a nameless part", ("", b"x"))
    yield as_form("too many files", *[file] * 17)
    yield as_form("too many texts", *[text] * 65)
    yield as_form("too many fields", *[('name="x"', b"")] * 1_001)
    yield as_form(
        "two sets of options", text, ('name="sightward"', b"{}"), ('name="sightward"', b"{}")
    )
    for options in (
        b"",
        b"{",
        b"[]",
        b"5",
        b'{"detail": NaN}',
        b'{"detail": 1}',
        b"\xff",
        b"[" * 9_999,
    ):
        yield as_form(f"options {options[:20]!r}", text, ('name="sightward"', options))
    for ending in (b"", b"--edge", b"--edge\r\n", b"--edge-", b"--other--\r\n"):
        yield as_form(f"ending {ending!r}", text, file, ending=ending)
    good = as_form("", text)
    for parameters in ("", "; boundary", "; boundary=", '; boundary=""', "; boundary=other"):
        yield Malformed(f"form{parameters}", good.content, f"multipart/form-data{parameters}")
    yield Malformed("JSON as a form", b'{"input": "a"}', "multipart/form-data; boundary=edge")
    yield Malformed("a form as JSON", good.content)
    yield Malformed("no line ends", b"--edge" * 50 + b"--edge--", good.content_type)
    yield Malformed(
        "endless header", b"--edge\r\nA: " + b"x" * 100_000 + b"\r\n\r\n--edge--", good.content_type
    )
    yield Malformed(
        "many headers",
        b"--edge\r\n" + b"A: b\r\n" * 10_000 + b"\r\n\r\n--edge--",
        good.content_type,
    )


def wrong_routes() -> Iterator[Malformed]:
    for method, path in (
        ("GET", "/v1/moderations"),
        ("PUT", "/v1/moderations"),
        ("POST", "/v1/moderations/"),
        ("POST", "/v1//moderations"),
        ("POST", "/v1/models"),
        ("POST", "/moderations"),
        ("GET", "/v1/%2e%2e/%00"),
        ("PATCH", "/v1/moderations"),
    ):
        yield Malformed(f"{method} {path}", b"{}", method=method, path=path)


def corpus() -> Iterator[Malformed]:
    for make in (
        truncated_images,
        wrong_magic,
        bombs_and_empty_sizes,
        malformed_json,
        wrong_fields,
        bad_urls,
        huge_bodies,
        bad_forms,
        wrong_routes,
    ):
        yield from make()
