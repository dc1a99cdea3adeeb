"""The forms an address is compared in, and those that are refused because they have two meanings."""

import pytest

from policy.mailbox import Doubtful, Mailbox, forms, read_path


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("example.com", ("example.com",)),
        ("EXAMPLE.Com..", ("example.com",)),
        ("localhost", ("localhost",)),
        ("a_b.example.com", ("a_b.example.com",)),
        ("bücher.example", ("xn--bcher-kva.example",)),
        ("BÜCHER。example", ("xn--bcher-kva.example",)),
        ("ｅxample.com", ("example.com",)),
        ("xn--bcher-kva.example", ("xn--bcher-kva.example",)),
        ("straße.example", ("strasse.example", "xn--strae-oqa.example")),
        ("σας.example", ("xn--mxa9ab.example", "xn--mxa8ab.example")),
        ("[192.0.2.1]", ("[192.0.2.1]",)),
        ("[IPv6:2001:DB8::1]", ("[ipv6:2001:db8::1]",)),
    ],
)
def test_a_domain_has_a_form_for_each_standard(domain: str, found: tuple[str, ...]) -> None:
    assert forms(domain) == found


@pytest.mark.parametrize(
    "domain",
    [
        *("", ".", "a..b", "-a.example", "a-.example", "a b.example", "a%2eexample", "a+b.example", "a\ud800.example"),
        *("xn--victim-.example", "xn--a\u00fc.example", "xn--99999999.example", "x" * 64 + ".example", "ü." * 200 + "example"),
        *("[example.com]", "[IPv6:192.0.2.1]", "[2001:db8::1]", "[192.0.2.1"),
    ],
)
def test_a_domain_of_two_meanings_is_in_doubt(domain: str) -> None:
    with pytest.raises(Doubtful):
        forms(domain)


def test_an_a_label_of_characters_that_others_stand_for_is_in_doubt() -> None:
    full_width = "\uff56ictim".encode("punycode").decode()
    with pytest.raises(Doubtful):
        forms(f"xn--{full_width}.example")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a@example.com", ("a", "example.com")),
        ("A.b+c%d@Example.com.", ("A.b+c%d", "example.com")),
        ('"a b"@example.com', ("a b", "example.com")),
        ('"a\\"b"@example.com', ('a"b', "example.com")),
        ("a b@example.com", ("a b", "example.com")),
    ],
)
def test_a_path_is_read_quoted_or_not(path: str, found: tuple[str, str]) -> None:
    assert read_path(path) == (Mailbox(*found),)


@pytest.mark.parametrize(
    "path", ["a", "@example.com", "a@", '"a@b"@example.com', "@b.example:a@example.com", "a\n@example.com", "a\udce9@example.com"]
)
def test_a_path_of_two_meanings_is_in_doubt(path: str) -> None:
    with pytest.raises(Doubtful):
        read_path(path)
