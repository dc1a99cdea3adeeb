"""The domain of a From field, or nothing where there could be two opinions."""

import time
from email.errors import HeaderParseError
from email.headerregistry import HeaderRegistry

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.mail.address import author_address, author_domain, from_address, from_domain
from filters.mail.message import Message
from policy.reply import Refused

FIELDS = [
    (b" a@example.com", "example.com"),
    (b" a@EXAMPLE.com.", "example.com"),
    (b" <a@example.com>", "example.com"),
    (b" A <a@example.com>", "example.com"),
    (b' "x@bad.test" <a@example.com>', "example.com"),
    (b' "x@bad.test, <y@bad.test>" <a@example.com>', "example.com"),
    (b' "\\"x@bad.test" <a@example.com>', "example.com"),
    (b" x@bad.test <a@example.com>", "example.com"),
    (b" (x@bad.test) a@example.com (y@bad.test)", "example.com"),
    (b" (nested (x@bad.test\\)) <) a@example.com", "example.com"),
    (b" a(c)@(d)example(e).(f)com", "example.com"),
    (b" A <a @ example . com>", "example.com"),
    (b' "a b"@example.com', "example.com"),
    (b' "a@bad.test"@example.com', "example.com"),
    (b' "a. b .c"@example.com', "example.com"),
    (b" a.b.c@example.com", "example.com"),
    (b" a@example.com, b@other.test", "example.com"),
    (b" A <a@example.com>, B <b@other.test>", "example.com"),
    (b" Group: a@example.com, b@other.test;", "example.com"),
    (b' "Group: x@bad.test": A <a@example.com>;', "example.com"),
    (b" Empty:;, a@example.com", "example.com"),
    (b" , , a@example.com", "example.com"),
    (b" <@relay.test,@other.test:a@example.com>", "example.com"),
    (b" =?utf-8?q?x=40bad=2Etest?= <a@example.com>", "example.com"),
    (b" =?utf-8?b?eEBiYWQudGVzdA==?= <a@example.com>", "example.com"),
    (b" A\r\n\t<a@example.com>", "example.com"),
    (b" J\xf6rg <a@example.com>", "example.com"),
    ("Jörg <jörg@bücher.example>".encode(), "xn--bcher-kva.example"),
    (b" a@xn--bcher-kva.example", "xn--bcher-kva.example"),
    (b"", ""),
    (b" ", ""),
    (b" a", ""),
    (b" <>", ""),
    (b" @example.com", ""),
    (b" a@", ""),
    (b" a@com", ""),
    (b" a@[192.0.2.1]", ""),
    (b" a@b@example.com", ""),
    (b" <a@bad.test> <b@example.com>", ""),
    (b" <a@bad.test> b@example.com", ""),
    (b" <a@bad.test <b@example.com>", ""),
    (b" A a@example.com", ""),
    (b" a b@example.com", ""),
    (b" a@example.com b", ""),
    (b" a@exam ple.com", ""),
    (b' a@"example.com"', ""),
    (b' "a@example.com', ""),
    (b" (a@example.com", ""),
    (b" a@example.com)", ""),
    (b" <a@example.com", ""),
    (b" a@example.com>", ""),
    (b" a\\@example.com", ""),
    (b" a@example.com\0", ""),
    (b" a@bad.test\r <b@example.com>", ""),
    (b" a@b\xfccher.example", ""),
    (b" a@-example.com", ""),
    (b" a@example..com", ""),
    (b" a@exam_ple.com", ""),
    (b" a@" + b"x" * 64 + b".com", ""),
    (b" a@" + b"x." * 200 + b"com", ""),
    (b" Group:;", ""),
    (b" =?utf-8?q?a=40example=2Ecom?=", ""),
]


@pytest.mark.parametrize(("value", "domain"), FIELDS)
def test_domain(value, domain):
    assert from_domain(value) == domain


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b" News <News@Example.COM.>", "News@example.com"),
        (b' "a \\"b\\" c".d@example.com', 'a "b" c.d@example.com'),
        (b" Doe, John <john@example.com>", "john@example.com"),
        ("jörg@bücher.example".encode(), "jörg@xn--bcher-kva.example"),
        (b" root", ""),
        (b" root@localhost", ""),
        (b" a@example.com b", ""),
    ],
)
def test_address(value, address):
    assert from_address(value) == address
    assert from_domain(value) == address.rpartition("@")[2]


def test_the_author_of_a_message_is_in_its_only_from():
    message = Message.parse(b"Sender: b@other.test\r\nFROM: A <a@example.com>\r\n\r\nFrom: c@bad.test\r\n")
    assert (author_address(message), author_domain(message)) == ("a@example.com", "example.com")
    assert author_address(Message.parse(b"To: a@example.com\r\n\r\n")) == ""
    with pytest.raises(Refused, match=r"^550 5\.6\.0 .* more than one From"):
        author_address(Message.parse(b"From: a@example.com\r\nfrom: a@example.com\r\n\r\n"))


WORDS = st.sampled_from(
    ["a", "b.c", "@", "<", ">", ",", ";", ":", '"', '"x y"', "(", ")", "(c)", "\\", " ", ".", "example.com", "other.test", "é"]
)


def domain_by_email(text):
    """What Python's parser makes of it; None where it sees a fault or gives up."""
    try:
        parsed = HeaderRegistry()("From", text)
    except (IndexError, HeaderParseError, AttributeError, ValueError):
        return None
    if parsed.defects or not parsed.addresses:
        return None
    return parsed.addresses[0].domain.lower().rstrip(".")


@given(st.lists(WORDS, max_size=12).map("".join))
@settings(max_examples=500)
def test_where_email_sees_no_fault_it_sees_the_same_domain(text):
    domain = from_domain(text.encode())
    if domain:
        assert domain_by_email(text) in {domain, None}


def test_email_agrees_about_the_table():
    agreed = 0
    for value, domain in FIELDS:
        if domain and value.isascii():
            theirs = domain_by_email(value.replace(b"\r\n", b"").decode().strip())
            assert theirs in {domain, None}
            agreed += theirs is not None
    assert agreed > 10


@pytest.mark.parametrize(
    "piece", [b"(", b"()", b'"', b'""', b"<", b"<>", b",", b"a@b.test,", b"=?utf-8?q?a?= ", b" ", b"a.", b"\\", b":"]
)
def test_hostile_fields_take_no_time(piece):
    start = time.perf_counter()
    from_domain(b" " + piece * (60_000 // len(piece)) + b" <a@example.com>")
    assert time.perf_counter() - start < 0.5
