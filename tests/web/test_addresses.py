"""Where a visitor comes from, and how much of that is written down."""

from ipaddress import ip_network

import pytest

from web.addresses import Addresses

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8:1::/48")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.77", "", "192.0.2.77"),
        ("192.0.2.77", "198.51.100.1", "192.0.2.77"),
        ("", "198.51.100.1", ""),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "203.0.113.9 , 198.51.100.1,10.2.2.2 ", "198.51.100.1"),
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.1.1.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.1.1.1", "[2001:db8:2::1]:4711", "2001:db8:2::1"),
        ("10.1.1.1", "2001:db8:2::1", "2001:db8:2::1"),
        ("2001:db8:1::5", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.1.1.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "", "fe80::1"),
        # What cannot be read hides who it was; what stands before it is somebody's claim.
        ("10.1.1.1", "198.51.100.1, unknown", ""),
        ("10.1.1.1", "unknown, 10.2.2.2", ""),
        ("10.1.1.1", "198.51.100.1, ", ""),
        ("10.1.1.1", "203.0.113.9, " * 10_000 + "198.51.100.1", "198.51.100.1"),
    ],
)
def test_the_address_of_a_visitor(peer: str, forwarded: str, found: str) -> None:
    assert Addresses(PROXIES, shorten=False).of(peer, forwarded)[0] == found


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("192.0.2.77", "192.0.2.0"),
        ("2001:db8:aaaa:bbbb:cccc::1", "2001:db8:aaaa::"),
        ("::ffff:192.0.2.77", "192.0.2.0"),
        ("10.1.2.3", "10.1.2.0"),
    ],
)
def test_a_shortened_address(address: str, kept: str) -> None:
    assert Addresses(PROXIES, shorten=True).of(address, "")[0] == kept


def test_nobody_is_believed_without_proxies() -> None:
    addresses = Addresses((), shorten=False)
    assert addresses.of("127.0.0.1", "192.0.2.1") == ("127.0.0.1", False)
    assert addresses.of("", "192.0.2.1") == ("", False)


def test_a_proxy_is_believed_for_what_else_it_says() -> None:
    addresses = Addresses(PROXIES, shorten=False)
    assert [addresses.of(peer, "192.0.2.1")[1] for peer in ("10.0.0.1", "::ffff:10.0.0.1", "11.0.0.1")] == [True, True, False]
