"""Which pictures judged lately look almost like this one: the nearest by PDQ's distance.

The newest few thousand are compared one by one, which takes a fraction of a millisecond.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.ingest.pdq import BITS, PdqHash

_WORDS = BITS // 64


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A picture that looks alike: the key of its scores, and the bits in which hashes differ."""

    key: str
    distance: int


class NearDuplicates:
    """Remembers the hashes of the last `max_pictures`; finds those at most `distance` bits away.

    Pictures judged under another `version` (of model and questions) are nothing to each other.
    """

    def __init__(self, *, distance: int, max_pictures: int) -> None:
        self._distance = distance
        self._words = np.zeros((max_pictures, _WORDS), dtype=np.uint64)
        self._versions = np.zeros(max_pictures, dtype=np.uint64)
        self._keys = [""] * max_pictures
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, picture: PdqHash, key: str, *, version: str) -> None:
        """Remember a picture, in the place of the oldest; one too flat to be told is left out."""
        if not picture.is_usable:
            return
        self._words[self._next] = _as_words(picture)
        self._versions[self._next] = _as_number(version)
        self._keys[self._next] = key
        self._next = (self._next + 1) % len(self._keys)
        self._size = min(self._size + 1, len(self._keys))

    def nearest(self, picture: PdqHash, *, version: str) -> Neighbour | None:
        """The nearest picture that is near enough; None without one."""
        if not picture.is_usable:
            return None
        candidates = np.flatnonzero(self._versions[: self._size] == _as_number(version))
        if candidates.size == 0:
            return None
        differing = self._words[candidates] ^ _as_words(picture)
        distances = np.bitwise_count(differing).sum(axis=1, dtype=np.uint16)
        nearest = int(distances.argmin())
        distance = int(distances[nearest])
        if distance > self._distance:
            return None
        return Neighbour(self._keys[int(candidates[nearest])], distance)


def _as_words(picture: PdqHash) -> NDArray[np.uint64]:
    return np.frombuffer(picture.bits.to_bytes(BITS // 8, "little"), dtype="<u8")


def _as_number(version: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(version.encode()).digest()[:8], "little"))
