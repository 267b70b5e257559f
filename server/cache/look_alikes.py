"""Which pictures may be given the scores of one that looks like them.

By default only what was found unsafe carries over: a few words or a symbol can make an unsafe
picture of a safe one, and few bits of the hash change.
"""

from collections.abc import Iterator
from typing import Literal

from server.cache.near_duplicates import NearDuplicates, Neighbour
from server.concepts.verdict import Outcome
from server.ingest.pdq import PdqHash

NearDuplicateUse = Literal["off", "unsafe", "all"]
"""Which scores a picture that looks alike may be given: none, unsafe ones, or all."""


class LookAlikes:
    """The pictures judged lately, the unsafe ones apart: of two alike the unsafe one counts.

    Pictures are alike up to `distance` bits of 256. Raises `ValueError` for the use "off".
    """

    def __init__(self, use: NearDuplicateUse, *, distance: int, max_pictures: int) -> None:
        if use == "off":
            raise ValueError("who has no use for look-alikes needs none")
        self._unsafe = NearDuplicates(distance=distance, max_pictures=max_pictures)
        self._safe = (
            NearDuplicates(distance=distance, max_pictures=max_pictures) if use == "all" else None
        )

    def add(self, look: PdqHash, key: str, version: str, outcome: Outcome) -> None:
        """Remember a picture with a verdict."""
        if outcome is Outcome.UNSAFE:
            self._unsafe.add(look, key, version=version)
        elif self._safe is not None:
            self._safe.add(look, key, version=version)

    def neighbours(self, look: PdqHash, version: str) -> Iterator[Neighbour]:
        """The nearest unsafe picture, then the nearest safe one, as far as there are such."""
        for pictures in (self._unsafe, self._safe):
            if pictures is not None:
                nearest = pictures.nearest(look, version=version)
                if nearest is not None:
                    yield nearest
