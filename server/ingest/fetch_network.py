"""The only way out: names are resolved here, and what is connected to is what was checked.

A name that is looked up twice may lead elsewhere the second time. So the check sits where the
connection is made, below HTTP: whatever asks for a host, first request or redirect, gets here.
"""

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Protocol

import httpcore2

from server.errors import UrlHostError
from server.ingest.fetch_addresses import Address
from server.ingest.fetch_rules import FetchRules, literal_address

_LOOKUPS_AT_ONCE = 16


class Resolver(Protocol):
    """Looks names up, until it is closed."""

    async def resolve(self, host: str) -> list[Address]:
        """All addresses of a name, the preferred one first; raises `OSError` if it has none."""
        ...

    def close(self) -> None:
        """Release what look-ups need."""
        ...


class SystemResolver:
    """The operating system's; in threads of its own, which a slow name server may hold up."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="resolve")

    async def resolve(self, host: str) -> list[Address]:
        """As `Resolver`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _look_up, host)

    def close(self) -> None:
        """Drop look-ups that have not begun; those that have end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses only, by `rules`; everything else never gets a packet.

    A name of which one address is forbidden is refused as a whole: no honest one has such. Raises
    `UrlHostError`, also for names that don't resolve, so that nobody learns which inner names do.
    """

    def __init__(
        self,
        rules: FetchRules,
        resolver: Resolver,
        inner: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._rules = rules
        self._resolver = resolver
        self._inner = httpcore2.AnyIOBackend() if inner is None else inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of `host` that answers."""
        self._rules.require_host(host, port)
        failure: Exception = httpcore2.ConnectError()
        for address in await self._addresses(host):
            try:
                return await self._inner.connect_tcp(
                    str(address),
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str) -> list[Address]:
        literal = literal_address(host)
        try:
            found = [literal] if literal is not None else await self._resolver.resolve(host)
        except (OSError, UnicodeError, ValueError) as error:
            raise UrlHostError("unresolved") from error
        if not found:
            raise UrlHostError("unresolved")
        if not all(self._rules.takes(address) for address in found):
            raise UrlHostError("forbidden")
        return found

    async def sleep(self, seconds: float) -> None:
        """As the interface."""
        await asyncio.sleep(seconds)
