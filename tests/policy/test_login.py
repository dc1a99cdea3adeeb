"""Names and places of logins."""

from dataclasses import replace

import pytest

from policy.login import GENERATED, NAME, Login, neighbourhood, new_name
from policy.options import Options

LOGIN = Login(name="a", account="a", options=Options(), created=0)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("0123456789abcdef0123456789abcdef", True),
        ("alice", True),
        ("alice@example.com", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("Alice", False),
        ("", False),
        (".alice", False),
        ("al ice", False),
        ("alice\n", False),
        ("a=b", False),
        ("a\tuser=b", False),
        ("*", False),
        ("é", False),
    ],
)
def test_names(name: str, fits: bool) -> None:
    assert bool(NAME.fullmatch(name)) is fits


def test_a_new_name_is_made_of_sixteen_octets() -> None:
    assert new_name(bytes(range(16))) == "000102030405060708090a0b0c0d0e0f"
    assert GENERATED.fullmatch(new_name(bytes(16)))
    with pytest.raises(ValueError, match="16 random bytes, not 15"):
        new_name(bytes(15))


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("unknown", ""),
        ("", ""),
        ("192.0.2.7/24", ""),
    ],
)
def test_neighbourhoods(address: str, place: str) -> None:
    assert neighbourhood(address) == place


def test_a_login_ends_at_its_time_or_when_it_is_disabled() -> None:
    assert LOGIN.usable(2**40)
    assert replace(LOGIN, expires=10).usable(9)
    assert not replace(LOGIN, expires=10).usable(10)
    assert not replace(LOGIN, enabled=False).usable(0)


@pytest.mark.parametrize("networks", [("192.0.2.0/24",), ("2001:db8::/32", "192.0.2.7/32")])
def test_a_login_comes_from_its_networks_only(networks: tuple[str, ...]) -> None:
    bound = replace(LOGIN, networks=networks)
    assert bound.may_come_from("192.0.2.7")
    assert bound.may_come_from("::ffff:192.0.2.7")
    for address in ("192.0.3.7", "2001:db9::1", "", "unknown", "::c000:207"):
        assert not bound.may_come_from(address)
        assert LOGIN.may_come_from(address)
