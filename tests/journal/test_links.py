"""The URLs that record a visit: read back as they were made, and nothing else is read."""

import re
import string
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from journal import links
from journal.links import (
    LAST_NUMBER,
    PIXEL_PREFIX,
    hosted,
    hosted_name,
    hosted_tracked,
    is_pixel,
    pixel,
    read,
    read_hosted,
    read_pixel,
    tracked,
)
from journal.seal import KEY_LENGTH, Ring, SealingKey, octets, written

BASE = "https://clicks.example.com"
RECIPIENT = bytes(range(200, 209))
NAME = "abcdefghijklmnopqrstuvwxyz234567.png"
RING = Ring([SealingKey(id=255, secret=b"k" * KEY_LENGTH, created=1, active=1)], now=2)

# Mostly the characters that mean something in a URL.
ANY = st.text(alphabet=string.ascii_letters + "/./..-?#&=%+;,~_:@!$*'()[]{}|^`\"<>\\0123456789", max_size=60)
URLS = st.builds(
    lambda scheme, host, rest: f"{scheme}://{host}{rest}",
    st.sampled_from(["http", "https", "HTTP", "hTTps"]),
    st.sampled_from(
        ["example.com", "www.example.com", "www.", "WWW.example.com", "example.com:8080", "[2001:db8::1]", "a@b.c", "www.x-y"]
    ),
    st.one_of(
        ANY.filter(lambda text: text == "" or text[0] in "/?#"),
        st.builds("/{}".format, ANY),
        st.builds("/{}?{}".format, ANY, ANY),
        st.builds("/{}?{}#{}".format, ANY, ANY, ANY),
    ),
)


def asked(url: str) -> tuple[bytes, bytes]:
    """The path and query that a browser asks for."""
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == BASE
    return parts.path.encode(), parts.query.encode()


@given(URLS, st.binary(min_size=9, max_size=9), st.integers(0, LAST_NUMBER), st.booleans())
def test_what_was_tracked_is_read(url: str, recipient: bytes, number: int, image: bool) -> None:
    visit = read(RING, *asked(tracked(RING, recipient, number, url, BASE, image=image)))
    assert visit is not None
    assert (visit.destination, visit.recipient, visit.number, visit.image) == (url, recipient, number, image)


@given(URLS)
def test_a_tracked_url_leaves_path_and_query_as_they_are_or_hides_them_whole(url: str) -> None:
    made = tracked(RING, RECIPIENT, 1, url, BASE)
    path, query = asked(made)
    shown, dash, identifier = path.decode().rpartition("-")
    assert dash
    assert re.fullmatch("[A-Za-z0-9]+", identifier)
    assert re.fullmatch(r"[\x21-\x7e]+", made)
    if shown == "/" and not query:
        assert "#" not in made or urlsplit(url).path in ("", "/")
        return
    original = urlsplit(url)
    assert (shown, query.decode(), urlsplit(made).fragment) == (original.path or "/", original.query, original.fragment)


@given(URLS)
def test_it_is_the_same_each_time_and_another_for_each_recipient_and_number(url: str) -> None:
    assert tracked(RING, RECIPIENT, 1, url, BASE) == tracked(RING, RECIPIENT, 1, url, BASE)
    others = {tracked(RING, who, number, url, BASE) for who in (RECIPIENT, bytes(9)) for number in (1, 2, 128)}
    assert len(others) == 6


@pytest.mark.parametrize(
    "url",
    [
        "https://www.example.com/",
        "https://www.example.com/shop/item?id=17&utm_source=newsletter",
        "http://example.com/unsubscribe?u=0123456789abcdef0123456789abcdef",
        "https://shop.example.com/a",
        "https://www.example.org/a",
    ],
)
def test_an_ordinary_link_grows_by_no_more_than_64_characters(url: str) -> None:
    assert max(added(url)) <= 64


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.com/a.png",
        "https://shop.example.org/a",
        "https://example.com:8443/a?b=c",
        "https://www.example.com/a#top",
    ],
)
def test_a_longer_host_or_fragment_takes_more_than_that_only_now_and_then(url: str) -> None:
    assert sum(added(url)) / 127 <= 64


def added(url: str) -> list[int]:
    """How many characters identifiers add to a URL; some octets take two."""
    base = "https://" + urlsplit(url).netloc
    return [len(tracked(RING, bytes((number,)) * 9, number, url, base)) - len(url) for number in range(1, 128)]


@given(URLS, st.data())
def test_no_bit_of_an_identifier_can_be_changed(url: str, data: st.DataObject) -> None:
    path, query = asked(tracked(RING, RECIPIENT, 1, url, BASE))
    shown, _, identifier = path.rpartition(b"-")
    sealed = octets(identifier)
    assert sealed is not None
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = (int.from_bytes(sealed, "big") ^ 1 << bit).to_bytes(len(sealed), "big")
    assert read(RING, shown + b"-" + written(flipped).encode(), query) is None
    length = data.draw(st.integers(0, len(identifier) - 1))
    assert read(RING, shown + b"-" + identifier[:length], query) is None


@given(URLS, URLS)
def test_path_and_query_cannot_be_exchanged(one: str, other: str) -> None:
    path, query = asked(tracked(RING, RECIPIENT, 1, one, BASE))
    path2, query2 = asked(tracked(RING, RECIPIENT, 1, other, BASE))
    shown, _, identifier = path.rpartition(b"-")
    shown2 = path2.rpartition(b"-")[0]
    if shown != shown2:
        assert read(RING, shown2 + b"-" + identifier, query) is None
    if query != query2:
        assert read(RING, path, query2) is None


@given(URLS)
def test_another_ring_reads_nothing(url: str) -> None:
    stranger = Ring([SealingKey(id=255, secret=b"x" * KEY_LENGTH, created=1, active=1)], now=2)
    assert read(stranger, *asked(tracked(RING, RECIPIENT, 1, url, BASE))) is None


@given(URLS)
def test_links_made_with_an_old_key_are_read_and_new_ones_have_the_new_key(url: str) -> None:
    old, new = RING.keys[0], SealingKey(id=3, secret=b"n" * KEY_LENGTH, created=5, active=5)
    ring = Ring([old, new], now=6)
    before, now = tracked(RING, RECIPIENT, 1, url, BASE), tracked(ring, RECIPIENT, 1, url, BASE)
    assert before != now
    for made in (before, now):
        visit = read(ring, *asked(made))
        assert visit is not None
        assert visit.destination == url
    assert read(RING, *asked(now)) is None


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_nothing_else_is_read(path: bytes, query: bytes) -> None:
    assert read(RING, path, query) is None
    assert read(RING, b"/-" + path, query) is None
    assert read_pixel(RING, path) is None
    assert read_hosted(RING, path) is None


@given(st.binary(min_size=9, max_size=9))
def test_a_pixel_names_its_recipient(recipient: bytes) -> None:
    path, query = asked(pixel(RING, recipient, BASE))
    visit = read_pixel(RING, path)
    assert visit is not None
    assert (visit.recipient, visit.number, visit.image, visit.destination) == (recipient, 0, True, "")
    assert is_pixel(path)
    assert read(RING, path, query) is None
    assert read_pixel(RING, path.replace(b".gif", b"A.gif")) is None
    assert is_pixel(path.replace(b".gif", b"A.gif"))
    assert path.startswith(PIXEL_PREFIX.encode())


@given(st.binary(min_size=9, max_size=9), st.integers(0, LAST_NUMBER), st.sampled_from(["png", "jpg", "gif", "webp"]))
def test_a_hosted_image_names_its_recipient_where_it_should(recipient: bytes, number: int, suffix: str) -> None:
    name = f"{NAME[:32]}.{suffix}"
    plain = read_hosted(RING, asked(hosted(name, BASE))[0])
    assert plain == links.HostedImage(name=name, visit=None)
    url = hosted_tracked(RING, recipient, number, name, BASE)
    path, query = asked(url)
    found = read_hosted(RING, path)
    assert found is not None
    assert found.visit is not None
    assert (found.name, found.forged, found.visit.recipient, found.visit.number) == (name, False, recipient, number)
    assert read(RING, path, query) is None
    for changed in (path.replace(b"-", b"-A"), path.replace(b"abc", b"abd")):
        forged = read_hosted(RING, changed)
        assert forged is not None
        assert (forged.visit, forged.forged) == (None, True)
    assert hosted_name(hosted(name, BASE)) == name


@given(ANY, st.sampled_from(["/o/", "/i/", "/robots.txt"]))
def test_no_link_takes_the_place_of_something_else(rest: str, beginning: str) -> None:
    url = f"https://example.com{beginning}{rest}"
    assume("#" not in rest)
    path, _ = asked(tracked(RING, RECIPIENT, 1, url, BASE))
    assert not is_pixel(path)
    assert read_hosted(RING, path) is None
    assert path != b"/robots.txt"
