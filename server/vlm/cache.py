"""Where downloads-free, rebuildable files live: the user's cache folder."""

import os
from pathlib import Path


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/sightward``, or ``~/.cache/sightward`` where that is unset."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sightward"
