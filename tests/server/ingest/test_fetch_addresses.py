from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ingest.fetch_addresses import is_fetchable, is_public

FORBIDDEN = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255
    127.0.0.1 127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2
    172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1
    192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::8.8.8.8 64:ff9b::10.0.0.1
    64:ff9b::8.8.8.8 64:ff9b:1::10.0.0.1 100::1 100:0:0:1::1 2001::1 2001:0:4136:e378::1
    2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 2620:4f:8000::1
    2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:8.8.8.8 3fff::1 5f00::1 fc00::1 fd00:ec2::254
    fd20:ce::254 fe80::1 fec0::1 ff02::1 ff0e::1 4000::1 2606:4700::1%eth0 fe80::1%2
""".split()  # noqa: SIM905 - to be read by people
PUBLIC = "1.1.1.1 8.8.8.8 93.184.216.34 172.15.0.1 172.32.0.1 2606:4700::1111 2a00:1450:4001::8a"


@pytest.mark.parametrize("text", FORBIDDEN)
def test_a_special_address_is_refused(text: str) -> None:
    assert not is_fetchable(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC.split())
def test_a_public_address_is_taken(text: str) -> None:
    assert is_fetchable(ip_address(text))


@given(st.integers(0, 2**32 - 1))
def test_no_ipv4_address_is_taken_inside_an_ipv6_one(number: int) -> None:
    for embedded in (
        number,
        0xFFFF << 32 | number,
        0x64_FF9B << 96 | number,
        0x64_FF9B_0001 << 80 | number,
        0x2002 << 112 | number << 80 | 1,
        0x2001_0000 << 96 | (number ^ 0xFFFFFFFF),
        0x2606_4700 << 96 | 0x5EFE << 32 | number,
        0x2606_4700 << 96 | 0x0200_5EFE << 32 | number,
    ):
        assert not is_public(IPv6Address(embedded))


@given(st.integers(0, 2**32 - 1))
def test_what_python_knows_to_be_special_is_never_public(number: int) -> None:
    address = IPv4Address(number)
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    assert not (special and is_public(address))


def test_an_operator_opens_a_network_and_no_other() -> None:
    opened = (ip_network("10.20.0.0/16"), ip_network("fd12::/32"))
    assert is_fetchable(ip_address("10.20.3.4"), opened=opened)
    assert is_fetchable(ip_address("fd12::1"), opened=opened)
    assert not is_fetchable(ip_address("10.21.0.1"), opened=opened)
    assert not is_fetchable(ip_address("::ffff:10.20.3.4"), opened=opened)


@pytest.mark.parametrize("text", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"])
def test_nobody_opens_what_gives_credentials_away(text: str) -> None:
    opened = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert not is_fetchable(ip_address(text), opened=opened)


def test_an_operator_closes_a_public_network_even_if_it_is_open_too() -> None:
    network = (ip_network("8.8.8.0/24"),)
    assert not is_fetchable(ip_address("8.8.8.8"), closed=network)
    assert not is_fetchable(ip_address("8.8.8.8"), opened=network, closed=network)
    assert is_fetchable(ip_address("8.8.4.4"), closed=network)
