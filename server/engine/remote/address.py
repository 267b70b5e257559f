"""Where an endpoint is and with what it is entered; nothing here may reach an error or a log."""

from collections.abc import Generator
from dataclasses import dataclass, field

import httpx2

from server.errors import EngineStartError

_COMPLETIONS = "/chat/completions"


class _BearerAuth(httpx2.Auth):
    def __init__(self, key: str) -> None:
        self._key = key

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["authorization"] = f"Bearer {self._key}"
        yield request


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's addresses, without credentials, and the way to authenticate there.

    `host` (with its port, if named) is what errors may say; `secrets` are the texts that they must
    not.
    """

    host: str
    completions: httpx2.URL = field(repr=False)
    models: httpx2.URL = field(repr=False)
    auth: httpx2.Auth | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, base_url: str, api_key: str | None) -> "Address":
        """From e.g. ``https://api.example/v1``; a query such as ``?api-version=1`` is kept.

        `api_key` goes out as a bearer token; a user and password within the address as basic
        authentication. Raises `EngineStartError`.
        """
        try:
            url = httpx2.URL(base_url.strip())
        except httpx2.InvalidURL:
            raise EngineStartError("the endpoint's address can't be read") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise EngineStartError("the endpoint's address must begin with http:// or https://")
        key = _checked_key(api_key)
        auth: httpx2.Auth | None = None
        secrets: tuple[str, ...] = ()
        if url.userinfo:
            if key:
                raise EngineStartError(
                    "the endpoint's address holds credentials, and a key is given too: only one "
                    "of them can be sent"
                )
            auth = httpx2.BasicAuth(url.username, url.password)
            secrets = (url.password,) if url.password else ()
        elif key:
            auth = _BearerAuth(key)
            secrets = (key,)
        base = url.copy_with(username=None, password=None, fragment=None)
        path = base.path.rstrip("/").removesuffix(_COMPLETIONS)
        return cls(
            host=url.netloc.decode(),
            completions=base.copy_with(path=path + _COMPLETIONS),
            models=base.copy_with(path=path + "/models"),
            auth=auth,
            secrets=secrets,
        )


def _checked_key(api_key: str | None) -> str | None:
    # A key read from a file or a variable often brings a line end along.
    key = (api_key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise EngineStartError("the endpoint's key holds characters that no key has")
    return key or None
