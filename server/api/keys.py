"""API keys as they are kept: by their SHA-256 alone, each with a holder, a tenant and scopes.

A key is 32 random bytes, so one round of SHA-256 can't be searched and a slow hash would only cost
time on every request. Keys come from a file, which is read again when it changes, or from the
environment, in clear or hashed.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from fastapi import Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from server.api.rate_limit_terms import checked_limits
from server.errors import DataFileError

Scope = Literal["moderate", "admin", "metrics"]
"""What a key may do: have things judged, run the service, or read its metrics."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_TENANT = "default"
KEY_PREFIX = "sw-"
_KEY_BYTES = 32
_HASHED = re.compile(r"sha256:([0-9a-f]{64})(?::([a-z+]+))?(?::([A-Za-z0-9._-]{1,64}))?")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whoever sent a request, by the key; `id` and `tenant` are no secrets and may be logged."""

    id: str
    tenant: str = DEFAULT_TENANT
    scopes: frozenset[Scope] = frozenset({"moderate"})
    rate_limit: str | None = None


ANYONE = KeyHolder(id="anyone", scopes=frozenset({"moderate", "metrics"}))
"""Who calls a server that has no keys: not its administrator."""


class KeyEntry(BaseModel):
    """One key of a key file. Times are compared with the clock of the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tenant: Name = DEFAULT_TENANT
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)] = ("moderate",)
    expires_at: AwareDatetime | None = None
    rate_limit: Annotated[str | None, AfterValidator(checked_limits)] = None
    """Instead of the server's own, e.g. ``600/minute``."""

    @property
    def holder(self) -> KeyHolder:
        """Who this key stands for."""
        return KeyHolder(self.id, self.tenant, frozenset(self.scopes), self.rate_limit)


class KeyFile(BaseModel):
    """A whole key file. Keys of one holder differ in their ids, so that one can be withdrawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyEntry, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name in ("id", "sha256"):
            values = [getattr(key, name) for key in self.keys]
            if len(set(values)) < len(values):
                raise ValueError(f"two keys have the same {name}")
        return self


def new_key() -> str:
    """A key that nobody can guess; it is shown once and kept nowhere."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def hash_of(key: str) -> str:
    """What is kept of a key, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_key_file(path: Path) -> tuple[KeyEntry, ...]:
    """The keys in a JSON file; raises `DataFileError` that names bad fields, never their values."""
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise DataFileError(path, (error.strerror or "can't be read",)) from error
    except ValidationError as error:
        problems = tuple(
            f"{'.'.join(map(str, found['loc'])) or 'the file'}: {found['msg']}"
            for found in error.errors(include_input=False, include_url=False)
        )
        raise DataFileError(path, problems) from error


def key_from_environment(given: str, number: int) -> KeyEntry:
    """The key that one entry of the setting stands for; raises `ValueError`.

    An entry is a key in clear, or ``sha256:HEX``, ``sha256:HEX:moderate+metrics`` or
    ``sha256:HEX:moderate:TENANT``. Its id is its place, since one made of the key would tell of it.
    """
    entry_id = f"environment-{number}"
    if not given.startswith("sha256:"):
        return KeyEntry(id=entry_id, sha256=hash_of(given))
    found = _HASHED.fullmatch(given)
    scopes = tuple(found[2].split("+")) if found and found[2] else ("moderate",)
    if found is None or not set(scopes) <= set(SCOPES):
        raise ValueError(
            f"entry {number} is not of the form sha256:HEX[:SCOPE+SCOPE[:TENANT]], with scopes of "
            f"{', '.join(SCOPES)}"
        )
    return KeyEntry.model_validate(
        {
            "id": entry_id,
            "sha256": found[1],
            "scopes": scopes,
            "tenant": found[3] or DEFAULT_TENANT,
        }
    )


def matching_key(key: str, entries: Iterable[KeyEntry]) -> KeyEntry | None:
    """The entry that `key` belongs to and that has not expired.

    Hashes have one length and all are compared, so the time taken tells nothing of any of them.
    """
    given = hash_of(key)
    matches = [entry for entry in entries if hmac.compare_digest(given, entry.sha256)]
    now = datetime.now(UTC)
    for entry in matches:
        if entry.expires_at is None or now < entry.expires_at:
            return entry
    return None


def key_holder(request: Request) -> KeyHolder:
    """Who sent the request; set for every path that asks for a key."""
    holder: KeyHolder = request.state.key_holder
    return holder
