"""Which addresses a picture may be fetched from: those of the public internet and no others.

IANA's special-purpose registries, written out, since what Python's `ipaddress` calls global differs
between its releases. In IPv6 it is the other way round: only global unicast is taken, and of that
nothing which carries an IPv4 address (6to4, Teredo, ISATAP), for where it leads is decided by a
gateway. Mapped, compatible and NAT64 addresses lie outside of global unicast already.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; most clouds' metadata at 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_ISATAP_IDENTIFIERS = frozenset({0x00005EFE, 0x02005EFE})

_METADATA = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Where clouds give credentials to whoever asks; no operator's setting opens these."""


def is_fetchable(
    address: Address,
    *,
    opened: Sequence[Network] = (),
    closed: Sequence[Network] = (),
) -> bool:
    """Whether a picture may be fetched from `address`.

    `opened` are networks that the operator allows though they are not public, `closed` are those
    forbidden though they are: one's own servers, or the prefix of a NAT64 gateway of one's own.
    """
    if address in _METADATA or _is_within(address, closed):
        return False
    return _is_within(address, opened) or is_public(address)


def is_public(address: Address) -> bool:
    """Whether `address` is one of the public internet and carries no other address in it."""
    if isinstance(address, IPv4Address):
        return not _is_within(address, _FORBIDDEN_V4) and address.is_global
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST
        and not _is_within(address, _FORBIDDEN_V6)
        and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP_IDENTIFIERS
    )


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
