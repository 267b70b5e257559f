"""Copies of the pictures that people are asked about, for as long as that takes; off by default.

The audit log names a picture by its fingerprint and never holds it. Where reviewers can't get at
the pictures any other way, an operator may have those of action `review` kept here, in a folder of
their own with rights and a lifetime of its own. A copy is the decoded picture, named by its
fingerprint, without the file's metadata. What is on a block-list, or known to be illegal, is never
kept, and neither is anything else.
"""

import os
import secrets
import time
from pathlib import Path

from PIL import Image

_SUFFIX = ".png"


class KeptImages:
    """A folder of kept pictures, readable by its owner alone. Methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, fingerprint: str) -> Path:
        """Where a picture is kept, or would be."""
        return self._folder / f"{fingerprint}{_SUFFIX}"

    def keep(self, image: Image.Image, fingerprint: str) -> None:
        """Keep a copy, unless there is one; raises `OSError`."""
        path = self.path_of(fingerprint)
        if path.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                image.save(f, "PNG")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def prune(self, *, max_age_s: float) -> int:
        """Delete what was kept longer ago; how many that were. Raises `OSError`."""
        before_s = time.time() - max_age_s
        old = [path for path in self._folder.glob(f"*{_SUFFIX}") if path.stat().st_mtime < before_s]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)
