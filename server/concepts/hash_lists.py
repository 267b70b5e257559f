"""Lists of known pictures by exact fingerprint: what is always allowed, what is always blocked.

A fingerprint is the SHA-256 of the decoded pixels (`server.ingest.fingerprint`), so a listed
picture is found in whatever file it comes, and a changed pixel hides it. That serves an operator's
own decisions about single pictures. It is no answer to known illegal material, whose copies are
altered on purpose: matching against the hash sets of the organisations that keep them is plugged in
beside this (`server.known_material`), and the model is no detector for such material either.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from server.concepts.data_file import FrozenRecord
from server.errors import DataFileError

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_HEX = frozenset("0123456789abcdef")
_HASH_CHARS = 64


class HashLists(FrozenRecord):
    """Fingerprints, given one by one or in files of one a line (`#` begins a comment).

    File names count from the policy file's folder. A picture on both lists is blocked.
    """

    allow: tuple[Fingerprint, ...] = ()
    block: tuple[Fingerprint, ...] = ()
    allow_files: tuple[str, ...] = ()
    block_files: tuple[str, ...] = ()

    def files(self, folder: Path) -> tuple[Path, ...]:
        """All files that the lists are made of."""
        return tuple(folder / name for name in (*self.allow_files, *self.block_files))

    def allowed(self, folder: Path) -> frozenset[str]:
        """Every fingerprint to allow; raises `DataFileError` for a file that can't be used."""
        return _all(self.allow, self.allow_files, folder)

    def blocked(self, folder: Path) -> frozenset[str]:
        """Every fingerprint to block; raises `DataFileError` for a file that can't be used."""
        return _all(self.block, self.block_files, folder)


def _all(given: tuple[str, ...], names: tuple[str, ...], folder: Path) -> frozenset[str]:
    found = set(given)
    for name in names:
        found |= _read(folder / name)
    return frozenset(found)


def _read(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(path, (f"can't be read: {error}",)) from error
    found = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip().lower()
        if not text:
            continue
        # A hash that is silently left out is a picture that is let through.
        if len(text) != _HASH_CHARS or not set(text) <= _HEX:
            raise DataFileError(path, (f"not a fingerprint of 64 hex digits (line {number})",))
        found.add(text)
    return found
