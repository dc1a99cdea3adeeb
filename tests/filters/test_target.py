"""Where a link leads: the table of awkward URLs, and that a tracked one gives back exactly that."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filters.mail.draft import Draft
from filters.mail.judge import LINKS
from filters.mail.markup import decoded
from filters.mail.outline import value
from filters.target import LONGEST, Untracked, host_of, is_at, target
from journal import links
from journal.seal import Ring, SealingKey

RING = Ring([SealingKey(id=7, secret=bytes(range(64)), created=0, active=0)], now=1)
RECIPIENT = b"recipient"
BASE = "https://clicks.example.com"


def outcome(text: str, *, unicode: bool = True) -> tuple[str | None, str]:
    """Where a value leads, or None and the reason."""
    try:
        return target(text, unicode=unicode), ""
    except Untracked as reason:
        return None, str(reason)


def link_in(html: str) -> str | None:
    """The value of the only link in an HTML text, as a browser takes it."""
    draft = Draft(html)
    (element,) = draft.outline.elements(LINKS)
    href = value(element, "href")
    return None if href is None or href.quote is None else draft.value(href)


def visited(url: str) -> links.Visit | None:
    """What the tracking host makes of a URL that a browser opens; a fragment stays in the browser."""
    assert url.startswith(BASE + "/")
    path, mark, query = url.removeprefix(BASE).partition("#")[0].partition("?")
    assert not mark or query
    return links.read(RING, path.encode("ascii"), query.encode("ascii"))


def test_the_table_is_as_it_must_be(awkward_urls) -> None:
    assert len(awkward_urls) >= 150
    assert len({row["html"] for row in awkward_urls}) == len(awkward_urls)
    assert sum(row["destination"] is not None for row in awkward_urls) >= 80
    assert all(("left" in row) is (row["destination"] is None) for row in awkward_urls)


def test_every_awkward_url_leads_where_a_browser_would_go(awkward_urls) -> None:
    for row in awkward_urls:
        text = link_in(row["html"])
        found, reason = (None, "") if text is None else outcome(text)
        assert found == row["destination"], row
        if found is None:
            assert row["left"] in reason, row
            assert bool(row["left"]) is bool(reason), row


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("number", [1, 127, 128, links.LAST_NUMBER])
def test_every_awkward_url_comes_back_from_the_tracked_one(awkward_urls, number: int, image: bool) -> None:
    for row in awkward_urls:
        if row["destination"] is None:
            continue
        url = links.tracked(RING, RECIPIENT, number, row["destination"], BASE, image=image)
        assert len(url) < 8192, row
        assert re.fullmatch(r"[!#-;=?-Z_a-z~]+", url), row  # nothing that a browser or a proxy writes otherwise
        wanted = links.Visit(recipient=RECIPIENT, number=number, image=image, destination=row["destination"])
        assert visited(url) == wanted, row


def test_no_two_awkward_urls_share_a_link(awkward_urls) -> None:
    destinations = {row["destination"] for row in awkward_urls if row["destination"]}
    assert len({links.tracked(RING, RECIPIENT, 1, url, BASE) for url in destinations}) == len(destinations)


def test_in_an_unknown_character_set_only_ascii_is_tracked() -> None:
    for text in ("http://www.example.com/gr\xfcn", "http://b\xfccher.example.com/", "http://www.example.com/#\xa0"):
        assert outcome(text, unicode=False) == (None, "an address that is not ASCII, in a character set other than UTF-8")
        assert outcome(text)[0] is not None
    assert outcome(" http://www.example.com/a b", unicode=False) == ("http://www.example.com/a%20b", "")
    assert outcome("mailto:gr\xfcn@example.com", unicode=False) == (None, "")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://WWW.Example.com", "www.example.com"),
        ("https://www.example.com:8443/a:b", "www.example.com"),
        ("http://www.example.com?a:b@c", "www.example.com"),
        ("http://www.example.com#a/b", "www.example.com"),
        ("http://[2001:DB8::1]:80/", "[2001:db8::1]"),
        ("HTTP://www.example.com./", "www.example.com."),
    ],
)
def test_host(url: str, host: str) -> None:
    assert host_of(url) == host
    assert is_at(url, {host})
    assert not is_at(f"http://other.example.com/?u={url}", {host})
    assert not is_at(f"http://{host}.example.com/" if host[0] != "[" else "http://[::2]/", {host})
    assert not is_at(f"http://x{host}/" if host[0] != "[" else "http://[::2]/", {host})


PIECES = (
    "http:// https:// HTTP:// // / : . .. @ ? # % %2e & = + [ ] [::1] \\ { } | ^ ` ' \" < > ( ) www example.com x xn--a 1 "
    "ü ☃ 😀 。 \u200b \ufeff \xa0 \x80 \0 \x01 \x7f \t \n \r {{ %% *|"
)
texts = st.lists(st.sampled_from([" ", *PIECES.split(" ")]) | st.text(max_size=3), max_size=12).map("".join)


@given(texts, st.sampled_from(["", "http://", "https://www.example.com/", " HTTPS://", "http://www.example.com"]))
@example("", "http://\u2100.example/")
@example("\ud800", "https://www.example.com/")
def test_any_value_leads_to_a_clean_url_or_nowhere(rest: str, start: str) -> None:
    text = decoded((start + rest).encode("utf-8", "replace").decode())
    found, reason = outcome(text)
    assert (found is None) or reason == ""
    if found is None:
        return
    assert re.fullmatch(r"(?i)https?://[^\x00-\x20/?#@\\<>\"]+([/?#][!#-;=?-\[\]-~]*)?", found), text
    assert len(found) <= LONGEST
    assert urlsplit(found).username is None
    assert target(found, unicode=False) == found  # once is enough
    for image in (False, True):
        visit = visited(links.tracked(RING, RECIPIENT, 3, found, BASE, image=image))
        assert visit == links.Visit(recipient=RECIPIENT, number=3, image=image, destination=found)


@given(st.text(st.characters(min_codepoint=0x80, exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_no_host_makes_it_raise(name: str) -> None:
    found, reason = outcome(f"http://{name}.example.com/")
    assert found is None or re.fullmatch(r"http://[a-z0-9._-]+/", found), name
    assert (found is None) is bool(reason)


@pytest.mark.parametrize("piece", ["ü", "ü.", "\u0300", "\u200d", "%", "{", " ", "\t", "\\", "a.", "@", "["])
@pytest.mark.parametrize("start", ["http://", "http://www.example.com/"])
def test_time_grows_with_the_length_only(start: str, piece: str) -> None:
    # Quadratic work would take minutes here.
    found, reason = outcome(start + piece * (1_000_000 // len(piece)))
    assert found is None or len(found) <= LONGEST
    assert (found is None) is bool(reason)
