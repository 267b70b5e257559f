"""A point's calls: JSON bodies with pixels or words that nobody has sent before."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.cost.points import Point
from benchmarks.fresh_images import FreshImages

_WORDS = ("photograph", "street", "market", "dusk", "people", "bright", "paper", "lamps", "of")


class Loads:
    """Makes calls; deterministic in `seed`, and never the same pixels or words twice."""

    def __init__(self, paths: Sequence[Path], *, seed: int) -> None:
        self._paths = list(paths)
        self._seed = seed
        self._pass = 0
        self._by_side: dict[int, FreshImages] = {}

    def bodies(self, point: Point) -> list[bytes]:
        """All calls of a point, each ready to be sent."""
        self._pass += 1
        if point.text_chars is not None:
            random = np.random.default_rng([self._seed, self._pass])
            texts = [_text(point.text_chars, random) for _ in range(point.calls)]
            return [_body(text) for text in texts]
        files = self._pictures(point.side_px).encode(pass_number=self._pass, count=point.items)
        step = point.images_per_call
        return [_body(_parts(files[at : at + step])) for at in range(0, len(files), step)]

    def _pictures(self, side_px: int) -> FreshImages:
        if side_px not in self._by_side:
            self._by_side[side_px] = FreshImages(
                self._paths, seed=self._seed, longest_side_px=side_px
            )
        return self._by_side[side_px]


def _text(chars: int, random: np.random.Generator) -> str:
    words = " ".join(random.choice(_WORDS, size=chars // 2 + 1))
    return f"{random.integers(1 << 30)} {words}"[:chars]


def _parts(files: Sequence[bytes]) -> list[dict[str, object]]:
    urls = (f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in files)
    return [{"type": "image_url", "image_url": {"url": url}} for url in urls]


def _body(given: object) -> bytes:
    return json.dumps({"input": given, "sightward": {"detail": True}}).encode()
