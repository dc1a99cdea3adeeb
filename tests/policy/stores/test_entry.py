"""Values of a directory's entries, and logins as entries of our own schema."""

import re
from dataclasses import fields, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.limits import LARGEST, LIMITS, Limits
from policy.login import NAME, Dialect, Login, Password
from policy.options import OPTIONS, Images, Options
from policy.stores.entry import Entry, UnreadableEntry, generalized, seconds
from policy.stores.own_entry import ATTRIBUTES, read, write

words = st.text(st.characters(codec="utf-8", exclude_characters=" \t\n\r\x0b\x0c"), min_size=1, max_size=20)
times = st.integers(0, 10**10)
hashes = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100)
passwords = st.lists(
    st.builds(
        Password,
        number=st.integers(1, 10**8),
        hash=hashes,
        created=times,
        until=st.none() | times,
        idle=st.none() | times,
    ),
    max_size=3,
    unique_by=lambda password: password.number,
).map(lambda found: tuple(sorted(found, key=lambda password: password.number)))
logins = st.builds(
    Login,
    name=st.from_regex(NAME, fullmatch=True),
    account=words,
    passwords=passwords,
    options=st.builds(
        Options,
        **{option.name: st.booleans() for option in OPTIONS if option.name != "images"},
        images=st.sampled_from(Images),
    ),
    forced=st.frozensets(st.sampled_from([option.name for option in OPTIONS])),
    enabled=st.booleans(),
    label=st.text(st.characters(codec="utf-8"), max_size=20),
    created=times,
    expires=st.none() | times,
    networks=st.lists(st.ip_addresses().map(ip_network).map(str), unique=True, max_size=3).map(tuple),
    ports=st.lists(st.integers(1, 65535), unique=True, max_size=3).map(tuple),
    senders=st.lists(st.from_regex(r"(\*\.|[A-Za-z]+@)?[a-z]{1,9}\.test", fullmatch=True), unique=True, max_size=3).map(tuple),
    dialects=st.frozensets(st.sampled_from(Dialect)),
    limits=st.builds(Limits, **{limit.field: st.none() | st.integers(1, LARGEST) for limit in LIMITS}),
)


def entry(values: dict[str, tuple[bytes, ...]]) -> Entry:
    return Entry(dn="cn=x", values={attribute.lower(): value for attribute, value in values.items()})


@given(logins)
def test_a_login_comes_back_from_its_entry_whole(login: Login) -> None:
    assert read(entry(write(login))) == login


@given(logins, st.permutations(range(10)))
def test_values_of_an_attribute_have_no_order(login: Login, order: list[int]) -> None:
    shuffled = {
        attribute: tuple(value[place] for place in order if place < len(value)) for attribute, value in write(login).items()
    }
    found = read(entry(shuffled))
    assert sorted(found.senders) == sorted(login.senders)
    assert replace(found, networks=(), ports=(), senders=()) == replace(login, networks=(), ports=(), senders=())


def test_what_is_not_there_is_allowed_and_off() -> None:
    assert read(entry({"smtpeterName": (b"a",), "smtpeterAccount": (b"shop",)})) == Login(
        name="a", account="shop", options=Options(), created=0
    )


def test_networks_and_senders_have_the_form_they_are_compared_in_whoever_wrote_them() -> None:
    values = {
        "smtpeterNetwork": (b"192.0.2.7/24", b"2001:DB8::1"),
        "smtpeterSender": (b"Me@Example.COM", b"*.B\xc3\xbccher.test"),
    }
    found = read(entry({"smtpeterName": (b"a",), "smtpeterAccount": (b"shop",), **values}))
    assert found.networks == ("192.0.2.0/24", "2001:db8::1/128")
    assert found.senders == ("Me@example.com", "*.xn--bcher-kva.test")
    assert found.may_come_from("192.0.2.9")


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("smtpeterName", (b"A B",)),
        ("smtpeterName", ()),
        ("smtpeterAccount", (b"a", b"b")),
        ("smtpeterAccount", (b"\xff",)),
        ("smtpeterPassword", (b"$argon2id$",)),
        ("smtpeterPassword", (b"1 2 x - hash",)),
        ("smtpeterPassword", (b"1 2 - - ",)),
        ("smtpeterOption", (b"trackclicks",)),
        ("smtpeterOption", (b"images=none",)),
        ("smtpeterEnabled", (b"maybe",)),
        ("smtpeterCreated", (b"yesterday",)),
        ("smtpeterExpires", (b"20301301000000Z",)),
        ("smtpeterPort", (b"smtp",)),
        ("smtpeterNetwork", (b"192.0.2.0/33",)),
        ("smtpeterNetwork", (b"here",)),
        ("smtpeterSender", (b"a b@example.com",)),
        ("smtpeterDialect", (b"unknown",)),
        ("smtpeterLimit", (b"sessions=0",)),
    ],
)
def test_what_cannot_be_read_is_told_without_a_hash(attribute: str, values: tuple[bytes, ...]) -> None:
    usual = {"smtpeterName": (b"a",), "smtpeterAccount": (b"shop",)}
    with pytest.raises(UnreadableEntry) as told:
        read(entry({**usual, attribute: values}))
    assert "argon2id" not in str(told.value)
    assert "hash" not in str(told.value)


def test_the_schema_has_every_attribute_and_every_field_is_in_one(root: Path) -> None:
    schema = (root / "policy" / "ldap" / "smtpeter.ldif").read_text()
    assert tuple(re.findall(r"smtpeterAttribute:\d+ NAME '(\w+)'", schema)) == ATTRIBUTES
    assert set(re.findall(r"smtpeter[A-Z]\w+", schema.partition("MUST")[2])) == set(ATTRIBUTES)
    assert len(ATTRIBUTES) == len(fields(Login)) - 2  # forced is a part of the options, external is another directory's


@given(times)
def test_times_come_back(time: int) -> None:
    assert seconds(generalized(time), "x") == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("19700101000000Z", 0),
        ("20300101000000Z", 1_893_456_000),
        ("20300101000000.0Z", 1_893_456_000),
        ("20161231235960Z", 1_483_228_800),
    ],
)
def test_times_are_read_as_directories_write_them(text: str, time: int) -> None:
    assert seconds(text, "x") == time


@pytest.mark.parametrize(
    "text", ["", "2030", "20300101000000", "20300101000000+0100", "20301301000000Z", "20300101250000Z", "00000101000000Z"]
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UnreadableEntry, match="it takes a time"):
        seconds(text, "x")
