"""What may be fetched, and how much of it; read from the settings once."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import httpx2

from server.errors import UrlFormError, UrlHostError
from server.ingest.fetch_addresses import Address, Network, is_fetchable

MAX_REDIRECTS = 3
MAX_URL_CHARS = 8_192
_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_NAME_CHARS = 253
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NO_URL_CHAR = re.compile(r"[\x00-\x20\x7f-\x9f\\]")


@dataclass(frozen=True, slots=True)
class FetchRules:
    """Where pictures may come from and what they may cost.

    `hosts` are names that alone are fetched from (``images.example.com``, or ``*.example.com`` for
    all below it); none: any. `opened` and `closed` are as `is_fetchable` takes them. `timeout_s` is
    for everything together: resolving, connecting, redirects, reading.
    """

    max_bytes: int
    timeout_s: float = 10.0
    connect_timeout_s: float = 3.0
    hosts: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset(_PORTS.values())
    opened: tuple[Network, ...] = ()
    closed: tuple[Network, ...] = ()
    at_once: int = 16

    def checked_url(self, url: str, *, base: httpx2.URL | None = None) -> httpx2.URL:
        """`url`, which may be relative to `base`, if it may be asked for at all.

        Its host is only checked by name: where that leads is known when it is connected to. Raises
        `UrlFormError` or `UrlHostError`.
        """
        if len(url) > MAX_URL_CHARS:
            raise UrlFormError(f"it has more than {MAX_URL_CHARS} characters")
        if _NO_URL_CHAR.search(url):
            # Readers of URLs disagree on what these mean.
            raise UrlFormError("it has a space, a control character or a backslash in it")
        try:
            parsed = httpx2.URL(url) if base is None else base.join(url)
        except (httpx2.InvalidURL, ValueError) as error:
            raise UrlFormError("it can't be read") from error
        if parsed.scheme not in _PORTS:
            raise UrlFormError("its scheme is neither http nor https")
        if base is not None and base.scheme == "https" and parsed.scheme == "http":
            raise UrlFormError("it is redirected from https to http")
        if parsed.userinfo:
            raise UrlFormError("it has a user name or password in it")
        self.require_host(parsed.raw_host.decode("ascii"), port_of(parsed))
        return parsed

    def require_host(self, host: str, port: int) -> None:
        """Return if this name and port may be connected to; raises as `checked_url` does."""
        if port not in self.ports:
            raise UrlFormError("its port is not one that is fetched from")
        if literal_address(host) is None and not _is_domain_name(host):
            raise UrlFormError("its host is neither a domain name nor an address")
        if self.hosts and not any(_is_named(host.rstrip("."), entry) for entry in self.hosts):
            raise UrlHostError("not listed")

    def takes(self, address: Address) -> bool:
        """Whether this address may be connected to."""
        return is_fetchable(address, opened=self.opened, closed=self.closed)


def host_entry(text: str) -> str:
    """An entry of `hosts` as it is compared; raises `ValueError` for what no host can match."""
    entry = text.lower().removesuffix(".")
    name = entry.removeprefix("*.")
    is_literal = name == entry and literal_address(name) is not None
    if not is_literal and not _is_domain_name(name):
        raise ValueError(f"{text!r} is no host; name one as images.example.com or *.example.com")
    return entry


def port_of(url: httpx2.URL) -> int:
    """The port that is connected to."""
    return _PORTS[url.scheme] if url.port is None else url.port


def literal_address(host: str) -> Address | None:
    """The address that `host` spells in its one usual way; None for names and all other ways."""
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def _is_domain_name(host: str) -> bool:
    """Whether `host` can be looked up; a name ends in no number, so ``0x7f.1`` is none."""
    labels = host.removesuffix(".").split(".")
    return (
        len(host) <= _MAX_NAME_CHARS
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


def _is_named(host: str, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    return host == entry
