from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from policy.domains import (
    Algorithm,
    InvalidKey,
    SigningKey,
    check_click_host,
    check_selector,
    default_click_host,
    new_private_key,
    normalise_domain,
    read_private_key,
    seal_private_key,
    sealed_key,
    txt_strings,
    unseal_private_key,
)

MASTER = bytes(range(64))


def key(domain: str = "example.com", selector: str = "s", sealed: bytes = b"") -> SigningKey:
    return SigningKey(
        domain=domain, selector=selector, account="a", algorithm=Algorithm.RSA, public="cA==", sealed=sealed, created=1
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        (" a.b ", "a.b"),
    ],
)
def test_domain_names_have_one_form(text: str, name: str) -> None:
    assert normalise_domain(text) == name


@pytest.mark.parametrize(
    ("text", "domain", "host"),
    [
        ("clicks.example.com", "example.com", "clicks.example.com"),
        ("A.B.Example.com.", "example.com", "a.b.example.com"),
        ("clicks.example.com", "news.example.com", "clicks.example.com"),
        ("clicks.example.com", "a.b.example.com", "clicks.example.com"),
        ("clicks.news.example.com", "news.example.com", "clicks.news.example.com"),
        ("clicks.other.example.com", "news.example.com", "clicks.other.example.com"),
        ("clicks.example.co.uk", "news.example.co.uk", "clicks.example.co.uk"),
        ("clicks.github.io", "github.io", "clicks.github.io"),
        ("go.bücher.example", "xn--bcher-kva.example", "go.xn--bcher-kva.example"),
    ],
)
def test_a_click_host_is_of_the_same_organisation(text: str, domain: str, host: str) -> None:
    assert check_click_host(text, domain) == host


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("example.com", "example.com"),
        ("news.example.com", "news.example.com"),
        ("example.com", "news.example.com"),
        ("clicks.example.org", "example.com"),
        ("clicks.notexample.com", "example.com"),
        ("clicks.example.co.uk", "other.co.uk"),
        ("clicks.example.github.io", "other.github.io"),
        ("clicks.com", "example.com"),
        ("clicks.example.com.evil.example", "example.com"),
        ("clicks", "example.com"),
        ("clicks.example.com:8080", "example.com"),
        ("https://clicks.example.com", "example.com"),
        ("", "example.com"),
    ],
)
def test_another_name_is_no_click_host(text: str, domain: str) -> None:
    with pytest.raises(ValueError, match="is no click host|is no domain name"):
        check_click_host(text, domain)


def test_the_default_click_host_is_one_that_may_be_set() -> None:
    assert check_click_host(default_click_host("example.com"), "example.com") == "clicks.example.com"
    assert default_click_host("x." * 125 + "xyz") == ""


@pytest.mark.parametrize(
    "text", ["", "localhost", "-a.com", "a-.com", "a..com", "a b.com", "a.com/x", "a@b.com", "x" * 64 + ".com", "a." * 130]
)
def test_other_words_are_no_domain(text: str) -> None:
    with pytest.raises(ValueError, match="is no domain name"):
        normalise_domain(text)


@pytest.mark.parametrize("text", ["", "a_b", "-a", "a.", "x" * 64, "a b"])
def test_other_words_are_no_selector(text: str) -> None:
    with pytest.raises(ValueError, match="is no selector"):
        check_selector(text)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_generated_key_reads_back_as_itself(algorithm: Algorithm) -> None:
    pem = new_private_key(algorithm)
    kind, public, normal = read_private_key(pem)
    assert (kind, normal) == (algorithm, pem)
    assert len(b64decode(public)) == (32 if algorithm is Algorithm.ED25519 else 294)


def test_keys_that_cannot_sign_are_refused() -> None:
    short = rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for pem, words in ((short, "1024 bits"), (curve, "DKIM does not know"), (locked, "unencrypted"), (b"", "no usable")):
        with pytest.raises(InvalidKey, match=words):
            read_private_key(pem)


def test_a_sealed_key_opens_only_in_its_own_row_under_its_own_master() -> None:
    sealed = seal_private_key(MASTER, domain="example.com", selector="s", pem=b"private")
    assert b"private" not in sealed
    assert unseal_private_key(MASTER, key(sealed=sealed)) == b"private"
    for other in (key("example.org", sealed=sealed), key(selector="t", sealed=sealed), key(sealed=sealed[:-1] + b"\x00")):
        with pytest.raises(InvalidKey, match="does not open"):
            unseal_private_key(MASTER, other)
    with pytest.raises(InvalidKey, match="does not open"):
        unseal_private_key(MASTER[::-1], key(sealed=sealed))


def test_a_key_shows_its_record_but_never_its_private_half() -> None:
    found = key(sealed=b"private")
    assert found.record_name == "s._domainkey.example.com"
    assert found.record_text == "v=DKIM1; k=rsa; p=cA=="
    assert "private" not in repr(found)


def test_a_key_is_sealed_in_its_own_place_and_signs_at_once() -> None:
    pem = new_private_key(Algorithm.ED25519)
    made = sealed_key(MASTER, pem, domain="example.com", account="a", selector="s", now=7)
    assert unseal_private_key(MASTER, made) == pem
    assert (made.algorithm, made.created, made.active, made.retired) == (Algorithm.ED25519, 7, 7, None)


def test_a_long_record_is_cut_into_strings_of_255() -> None:
    strings = txt_strings("x" * 600)
    assert [len(text) for text in strings] == [255, 255, 90]
