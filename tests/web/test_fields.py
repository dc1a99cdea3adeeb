"""What the header fields of a request tell."""

import pytest

from web.fields import LONGEST, REMEMBERED, FieldReader, read

SECRET = (
    (b"cookie", b"a=b"),
    (b"authorization", b"Basic eA=="),
    (b"proxy-authorization", b"Basic eA=="),
    (b"x-forwarded-for", b"192.0.2.1"),
    (b"forwarded", b"for=192.0.2.1"),
    (b"x-real-ip", b"192.0.2.1"),
    (b"cf-connecting-ip", b"192.0.2.1"),
    (b"true-client-ip", b"192.0.2.1"),
    (b"x-forwarded", b"for=192.0.2.1"),
    (b"x-vercel-forwarded-for", b"192.0.2.1"),
    (b"proxy-client-ip", b"192.0.2.1"),
)


def test_a_line_for_each_field() -> None:
    fields = read(((b"host", b"a.test"), (b"user-agent", b"curl/8"), (b"x-odd", b"caf\xe9\x01\x85\tx")))
    assert fields.text == "Host: a.test\nUser-Agent: curl/8\nX-Odd: caf\xe9   x"
    assert fields.machine
    assert fields.refusal == 0


def test_what_is_written_down_is_bounded() -> None:
    assert len(read(((b"host", b"a.test"), (b"x", b"y" * 30_000))).text) == LONGEST


@pytest.mark.parametrize("pair", SECRET, ids=lambda pair: pair[0].decode())
def test_nothing_private_is_read_or_kept(pair: tuple[bytes, bytes]) -> None:
    reader = FieldReader()
    with_it, forwarded = reader.read([(b"host", b"a.test"), pair, (b"accept", b"*/*")])
    assert with_it is reader.read([(b"host", b"a.test"), (b"accept", b"*/*")])[0]
    assert forwarded == ("192.0.2.1" if pair[0] == b"x-forwarded-for" else "")
    assert with_it.text == "Host: a.test\nAccept: */*"


def test_the_memory_is_bounded() -> None:
    reader = FieldReader()
    for number in range(REMEMBERED * 2 + 5):
        reader.read([(b"host", b"a.test"), (b"referer", b"%d" % number)])
    assert len(reader._known) <= REMEMBERED


@pytest.mark.parametrize(
    ("pairs", "refusal"),
    [
        (((b"host", b"a.test"), (b"host", b"a.test")), 400),
        (((b"host", b"a.test"), (b"content-length", b"1")), 413),
        (((b"host", b"a.test"), (b"transfer-encoding", b"chunked")), 413),
        (((b"host", b"a.test"), (b"content-length", b" 0 ")), 0),
        ((), 0),
    ],
)
def test_what_cannot_be_served(pairs: tuple[tuple[bytes, bytes], ...], refusal: int) -> None:
    assert read(pairs).refusal == refusal


@pytest.mark.parametrize(
    ("said", "protocol"),
    [("https", "https"), ("HTTP", "http"), ("http, https", "https"), ("ftp", ""), ("", ""), ("https,", "")],
)
def test_the_protocol_a_proxy_saw(said: str, protocol: str) -> None:
    assert read(((b"x-forwarded-proto", said.encode()),)).protocol == protocol


def test_several_lists_of_addresses_are_one() -> None:
    fields = [(b"x-forwarded-for", b"a, b"), (b"host", b"x"), (b"x-forwarded-for", b"c")]
    assert FieldReader().read(fields)[1] == "a, b,c"


def test_whoever_comes_too_early_is_a_machine() -> None:
    browser = (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
    assert not read((browser,)).machine
    for name in (b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"):
        assert read((browser, (name, b"prefetch"))).machine
