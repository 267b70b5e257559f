"""``sightward keys``: make a key, and write down no more of it than its hash."""

import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import ValidationError

from server.api.keys import (
    DEFAULT_TENANT,
    KeyEntry,
    KeyFile,
    Scope,
    hash_of,
    new_key,
    read_key_file,
)
from server.errors import DataFileError

EXIT_UNUSABLE = 2
_NEW_FILE_MODE = 0o640

keys = App(name="keys", help="Make API keys; a server keeps their hashes alone.")


@keys.command
def new(
    key_id: str,
    *,
    tenant: str = DEFAULT_TENANT,
    scope: Annotated[tuple[Scope, ...], Parameter(negative="")] = ("moderate",),
    days: int | None = None,
    rate_limit: str | None = None,
    file: Path | None = None,
) -> None:
    """Make a key and show it, once: on the first line the key, then its entry in a key file.

    To replace a key without a gap, make a second one under another id, hand it out, and take the
    first one's entry out of the file when nobody uses it any more. No restart is needed.

    Parameters
    ----------
    key_id
        Names the key in logs, e.g. shop-2026-11.
    tenant
        Whose thresholds and lists hold for its calls.
    scope
        What it may do; may be given more than once.
    days
        For how long it is valid; without it, for ever.
    rate_limit
        Instead of the server's own, e.g. 600/minute.
    file
        Write the entry into this file, which is made if it is not there.
    """
    key = new_key()
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        entry = KeyEntry(
            id=key_id,
            sha256=hash_of(key),
            tenant=tenant,
            scopes=scope,
            expires_at=None if days is None else now + timedelta(days=days),
            rate_limit=rate_limit,
        )
        if file is not None:
            _add(entry, file)
    except ValidationError as error:
        _stop([f"{found['loc'][-1]}: {found['msg']}" for found in error.errors() if found["loc"]])
    except DataFileError as error:
        _stop([f"{error.path}: {problem}" for problem in error.problems])
    sys.stdout.write(f"{key}\n{entry.model_dump_json(exclude_none=True)}\n")


@keys.command(name="hash")
def hash_key() -> None:
    """Read a key from the standard input and show its hash, as SIGHTWARD_API_KEYS takes it."""
    key = sys.stdin.readline().strip()
    if not key:
        _stop(["there is no key on the standard input"])
    sys.stdout.write(f"sha256:{hash_of(key)}\n")


def _add(entry: KeyEntry, file: Path) -> None:
    """Put `entry` behind those in `file`; a server that reads meanwhile sees all or none of it."""
    present = read_key_file(file) if file.exists() else ()
    if entry.id in {one.id for one in present}:
        raise DataFileError(file, (f"it has a key of the id {entry.id!r} already",))
    text = KeyFile(keys=(*present, entry)).model_dump_json(indent=2, exclude_none=True)
    mode = file.stat().st_mode if file.exists() else _NEW_FILE_MODE
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as fresh:
            fresh.write(text + "\n")
        Path(fresh.name).chmod(mode)
        os.replace(fresh.name, file)
    except OSError as error:
        raise DataFileError(file, (error.strerror or "can't be written",)) from error


def _stop(problems: list[str]) -> None:
    for problem in problems:
        sys.stderr.write(f"sightward: {problem}\n")
    sys.exit(EXIT_UNUSABLE)
