"""A storm of pictures that can't be judged (bombs, cut short, damaged, no pictures at all) among
good ones: each is refused for what it is, nothing fails, the good ones are judged, memory is held.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from struct import pack

import numpy as np
from PIL import Image

from benchmarks.faults.asking import PATH, tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, none_of
from benchmarks.faults.memory import MemoryWatch, memory_course
from benchmarks.faults.pictures import picture_body
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import LostError, Wire

NAME, TITLE = "bad-images", "bombs and damaged pictures among good ones"

_STORMERS = 8
_GROWTH_GOAL_MIB = 300.0
_BOMB_SIDE_PX = 12_000


async def run(stand: Stand) -> FaultReport:
    """Good clients and bad ones side by side."""
    storm = [picture_body(data, media_type="image/png") for data in bad_pictures(stand.config.seed)]
    async with Wire(stand.service.url) as wire:
        async with MemoryWatch(stand.service.pid) as memory:
            loop = stand.closed_loop(wire, clients=max(1, stand.config.clients // 2))
            async with loop:
                statuses = await _storm(wire, storm, stand.share_s(0.12))
        good = tally(loop.asked)
    course = memory_course(memory.samples)
    wrong = sum(count for status, count in statuses.items() if not 400 <= status < 500)
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            none_of("bad pictures not answered 4xx", wrong),
            none_of("good requests failed or lost", good.failed + good.lost),
            none_of("unsafe pictures let through", good.let_through),
            at_least("good pictures answered", good.answered, 1),
            at_most(
                "memory range",
                None if course is None else course.range_mib,
                _GROWTH_GOAL_MIB,
                "MiB",
            ),
        ),
        figures={
            "good": asdict(good),
            "bad_statuses": {str(status): count for status, count in statuses.items()},
            "memory_mib": course and asdict(course) | {"range_mib": course.range_mib},
        },
        note=f"{sum(statuses.values())} bad pictures of {len(storm)} kinds",
    )


def bad_pictures(seed: int) -> list[bytes]:
    """One of each kind."""
    random = np.random.default_rng(seed)
    file = BytesIO()
    noise = random.integers(0, 256, size=(256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    sound = file.getvalue()
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 0xFF
    return [
        _png_of_nothing(_BOMB_SIDE_PX),
        _png_of_nothing(4_000),
        sound[: len(sound) // 2],
        bytes(damaged),
        sound[:33],
        bytes(random.integers(0, 256, size=4_096, dtype=np.uint8)),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ]


def _png_of_nothing(side_px: int) -> bytes:
    """A black square of a few kilobytes that decodes to side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * ((side_px // 8 + 1) * side_px), 9)
    header = pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    marks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + marks


async def _storm(wire: Wire, bodies: Sequence[bytes], seconds: float) -> Counter[int]:
    """Statuses of the bad ones; 0 where no answer came."""
    statuses: Counter[int] = Counter()
    ends_s = asyncio.get_running_loop().time() + seconds

    async def client(first: int) -> None:
        turn = first
        while asyncio.get_running_loop().time() < ends_s:
            try:
                reply = await wire.request("POST", PATH, bodies[turn % len(bodies)])
                statuses[reply.status] += 1
            except LostError:
                statuses[0] += 1
            turn += 1

    await asyncio.gather(*(client(first) for first in range(_STORMERS)))
    return statuses
