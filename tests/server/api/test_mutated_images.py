"""Damaged pictures by the thousand to a server of its own: no 5xx, none safe, memory bounded."""

import io
import json
import logging
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from server.api.errors import ERROR_RULES

MIB = 1024 * 1024
PICTURES = 12_000
AT_ONCE = 16
MAX_PEAK_BYTES = 400 * MIB
"""Over the idle server: damage may make a small file one of many pixels, two decoded at once."""
MAX_LEFT_BYTES = 48 * MIB
"""Of what stays of the second half: the scores of some 1,500 pictures, and a little."""
DOCUMENTED = {rule.code for rule in ERROR_RULES.values() if rule.status < 500}
ENCODINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {}),
)


def whole_files() -> list[bytes]:
    rng = np.random.default_rng(3)
    found = []
    for width, height in ((48, 32), (17, 90), (200, 150)):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for image_format, options in ENCODINGS:
            file = io.BytesIO()
            picture.save(file, image_format, **options)
            found.append(file.getvalue())
    return found


def mutated(rng: random.Random, whole: bytes, other: bytes) -> bytes:
    """`whole` with one to six damages, most of them near its start, where headers are."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        reach = min(len(data), 64) if rng.random() < 0.5 else len(data)
        at = rng.randrange(max(reach, 1))
        length = rng.choice((1, 2, 4, rng.randint(1, 40)))
        match rng.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                data[at : at + length] = rng.choice((b"\x00", b"\xff", b"\x7f")) * length
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                data[at:at] = other[at : at + length]
            case _ if rng.random() < 0.2:
                del data[max(at, 1) :]
    return bytes(data)


def batches() -> Iterator[list[bytes]]:
    rng = random.Random(20)
    whole = whole_files()
    for _ in range(PICTURES // AT_ONCE):
        yield [mutated(rng, rng.choice(whole), rng.choice(whole)) for _ in range(AT_ONCE)]


def seen(result: dict[str, Any]) -> str:
    """How a picture fared; raises `AssertionError` where that is not as documented."""
    detail = result["sightward"]
    if "error" not in detail:
        return "judged"
    assert detail["error"]["code"] in DOCUMENTED, detail
    assert detail["outcome"] == "undetermined"
    assert detail["action"] != "allow"
    assert result["flagged"] is True
    return str(detail["error"]["code"])


@pytest.mark.timeout(300)
def test_damaged_pictures_do_no_harm(stub_server: Any) -> None:
    options = {"sightward": json.dumps({"per_input": True, "detail": True})}
    fared: Counter[str] = Counter()
    with httpx2.Client(base_url=stub_server.url, timeout=60) as client:

        def send(pictures: list[bytes]) -> None:
            files = [("file", ("a", one)) for one in pictures]
            response = client.post("/v1/moderations", files=files, data=options)
            assert response.status_code == 200, response.text[:300]
            results = response.json()["results"]
            assert len(results) == len(pictures)
            fared.update(seen(one) for one in results)

        send(whole_files()[:AT_ONCE])
        assert fared == {"judged": AT_ONCE}
        warm_bytes = stub_server.peak_bytes()
        for number, batch in enumerate(batches()):
            if number == PICTURES // AT_ONCE // 2:
                half_bytes = stub_server.resident_bytes()
            send(batch)
        assert client.get("/livez").status_code == 200
    peak_bytes = stub_server.peak_bytes() - warm_bytes
    left_bytes = stub_server.resident_bytes() - half_bytes
    # Shown by --log-cli-level=info.
    logging.getLogger(__name__).info(
        "%s; memory grew by %d MiB at most, by %d MiB in the second half",
        dict(fared.most_common()),
        peak_bytes // MIB,
        left_bytes // MIB,
    )
    assert fared.total() == PICTURES + AT_ONCE
    # Else the damage is too small, or too great, to show anything.
    assert fared["judged"] > PICTURES / 20
    assert fared.total() - fared["judged"] > PICTURES / 4
    assert peak_bytes < MAX_PEAK_BYTES, f"{peak_bytes / MIB:.0f} MiB"
    assert left_bytes < MAX_LEFT_BYTES, f"{left_bytes / MIB:.0f} MiB"
