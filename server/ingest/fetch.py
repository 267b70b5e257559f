"""From a web address to the encoded picture behind it, without becoming anyone's way in.

Server-side request forgery is what this guards against: by name (`FetchRules`), by address
(`CheckedNetwork`), by size and time while bytes arrive. There is no cookie, no proxy (the
environment's is not read), no decompression, and every picture gets a connection of its own.
"""

import asyncio
import logging
import ssl

import httpcore2
import httpx2

from server.errors import (
    UrlAnswerError,
    UrlBytesError,
    UrlRedirectError,
    UrlStatusError,
    UrlTimeoutError,
    UrlUnreachableError,
)
from server.ingest.fetch_network import CheckedNetwork, Resolver, SystemResolver
from server.ingest.fetch_rules import MAX_REDIRECTS, FetchRules

_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ImageFetcher:
    """Fetches pictures by `rules`. `close` it when done.

    `resolver` looks names up, `connector` makes the connections to addresses that were checked, and
    `ssl_context` says whom to trust; None: as the machine does it, and the certificate authorities
    that browsers trust.
    """

    def __init__(
        self,
        rules: FetchRules,
        *,
        resolver: Resolver | None = None,
        connector: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        # It traces answers' headers, redirects with their secrets among them.
        logging.getLogger("httpcore2").setLevel(logging.INFO)
        self._rules = rules
        self._resolver = SystemResolver() if resolver is None else resolver
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or httpx2.create_ssl_context(trust_env=False),
            max_connections=rules.at_once,
            max_keepalive_connections=0,
            network_backend=CheckedNetwork(rules, self._resolver, connector),
        )
        self._turns = asyncio.Semaphore(rules.at_once)

    async def fetch(self, url: str) -> bytes:
        """The bytes behind `url`, whatever they are; raises a `UrlFetchError`."""
        async with self._turns:
            try:
                async with asyncio.timeout(self._rules.timeout_s):
                    return await self._follow(self._rules.checked_url(url))
            except (TimeoutError, httpcore2.TimeoutException) as error:
                raise UrlTimeoutError(timeout_s=self._rules.timeout_s) from error
            except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
                raise UrlUnreachableError from error

    async def _follow(self, url: httpx2.URL) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            found = await self._ask(url)
            if isinstance(found, bytes):
                return found
            url = found
        raise UrlRedirectError(limit=MAX_REDIRECTS)

    async def _ask(self, url: httpx2.URL) -> bytes | httpx2.URL:
        """The picture, or the checked address that the answer redirects to."""
        target = httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("host", url.netloc),
            ("accept", "image/*"),
            ("accept-encoding", "identity"),  # a body that unfolds has no size to check
            ("user-agent", "sightward"),
            ("connection", "close"),
        ]
        timeouts = {"connect": self._rules.connect_timeout_s}
        async with self._pool.stream(
            "GET", target, headers=headers, extensions={"timeout": timeouts}
        ) as response:
            if response.status in _REDIRECTS:
                location = _header(response, b"location")
                if not location:
                    raise UrlAnswerError("it redirects to nowhere")
                return self._rules.checked_url(location, base=url)
            if response.status != _OK:
                raise UrlStatusError(status=response.status)
            if _header(response, b"content-encoding").lower() not in ("", "identity"):
                raise UrlAnswerError("it is compressed, which was not asked for")
            return await self._read(response)

    async def _read(self, response: httpcore2.Response) -> bytes:
        limit_bytes = self._rules.max_bytes
        declared = _header(response, b"content-length")
        if declared.isdecimal() and int(declared[:20]) > limit_bytes:
            raise UrlBytesError(limit_bytes=limit_bytes)
        body = bytearray()
        async for part in response.aiter_stream():
            body += part
            if len(body) > limit_bytes:
                raise UrlBytesError(limit_bytes=limit_bytes)
        return bytes(body)

    async def close(self) -> None:
        """End all connections, and look nothing up any more."""
        await self._pool.aclose()
        self._resolver.close()


def _header(response: httpcore2.Response, name: bytes) -> str:
    """The header's value; empty where there is none, or none that is text."""
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("utf-8", "replace")
    return ""
