"""One HTML text in every transfer encoding and every place of a message: the same links, one pixel, and nothing else changed."""

import binascii
import re
from base64 import encodebytes
from dataclasses import replace
from itertools import product

import pytest

from filters.job import Envelope, Job, Result, Site, Tracking
from filters.mail import parts
from filters.mail.judge import PIXEL
from filters.mail.message import Message
from filters.pipeline import transform
from journal import links
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.options import Images, Options

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)
ALL = Options(inlinecss=True, trackclicks=True, trackopens=True)

HTML = """<!doctype html><html><head><style>a{color:red}</style></head><body background="http://img.example.com/bg.png">
<a href="http://www.example.com/a?b=1&amp;c=2">One</a> =3D <a href='https://www.example.com/d=20e'>Two</a> \t
From here.
.
<a href=http://www.example.com/?x=%C3%BC>Three</a><img src="https://img.example.com/i.png" alt="--b"><a href="tel:1">m</a>
<!--[if mso]><v:rect href="http://www.example.com/mso"><![endif]--><area href="http://www.example.com/long/%s">
<a href="http://www.example.com/a?b=1&amp;c=2" data-no-track>Four</a></body></html>
""".replace("%s", "x" * 200).replace("\n", "\r\n")
EIGHT_BIT = HTML.replace("Three", "Dreißig €").replace("%C3%BC", "ü")
TEXT = "Grüße <a href='http://www.example.com/'>x</a>\r\nhttp://www.example.com/a?b=1&c=2\r\n"


def quoted_printable(content: bytes) -> bytes:
    return b"\r\n".join(binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in content.split(b"\r\n"))


ENCODINGS = {
    "none": ("", lambda content: content),
    "7bit": ("7bit", lambda content: content),
    "8bit": ("8bit", lambda content: content),
    "binary": ("binary", lambda content: content),
    "quoted-printable": ("Quoted-Printable", quoted_printable),
    "base64": ("BASE64", lambda content: encodebytes(content).replace(b"\n", b"\r\n")),
    "base64 in one line": ("base64", lambda content: binascii.b2a_base64(content, newline=False) + b"\r\n"),
}
HEADER = (
    b"From: News <news@example.com>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n and more\r\n"
    b"X-Odd:no blank\r\nMIME-Version: 1.0\r\n"
)
PNG = encodebytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0" + bytes(40)).replace(b"\n", b"\r\n")
ATTACHED = (
    b'Content-Type: text/html; name="a.html"\r\nContent-Disposition: attachment; filename="a.html"\r\n\r\n'
    b'<a href="http://www.example.com/attached">x</a></body>\r\n'
)
BINARY = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encodebytes(
    bytes(range(256))
).replace(b"\n", b"\r\n")


def html_part(encoding: str, html: str) -> bytes:
    name, encode = ENCODINGS[encoding]
    field = f"Content-Transfer-Encoding: {name}\r\n".encode() if name else b""
    return b"Content-Type: text/html; charset=UTF-8\r\n" + field + b"\r\n" + encode(html.encode())


def text_part() -> bytes:
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + TEXT.encode()


def image_part() -> bytes:
    return b"Content-Type: image/png\r\nContent-ID: <i@example.com>\r\nContent-Transfer-Encoding: base64\r\n\r\n" + PNG


def multipart(kind: str, *inside: bytes) -> bytes:
    boundary = kind[:3].encode() + b"-b"
    between = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in inside)
    return b'Content-Type: multipart/%b; boundary="%b"\r\n\r\npreamble of %b\r\n%b--%b--\r\nepilogue\r\n' % (
        kind.encode(), boundary, boundary, between, boundary,
    )  # fmt: skip


STRUCTURES = {
    "alone": lambda html: html,
    "alternative": lambda html: multipart("alternative", text_part(), html),
    "related": lambda html: multipart("related", html, image_part()),
    "mixed": lambda html: multipart("mixed", html, ATTACHED, BINARY),
    "alternative with related": lambda html: multipart("alternative", text_part(), multipart("related", html, image_part())),
    "all of them": lambda html: multipart(
        "mixed", multipart("related", multipart("alternative", text_part(), html), image_part()), ATTACHED, BINARY
    ),
}
VARIANTS = [(structure, encoding, html) for structure, encoding, html in product(STRUCTURES, ENCODINGS, ("ASCII", "8bit"))]


def run(raw: bytes, options: Options = ALL, site: Site = SITE) -> tuple[Message, Result]:
    received = Message.parse(raw)
    envelope = Envelope(mail_from="", rcpt_to=("reader@example.net",))
    return received, transform(Job(login="0" * 32, account="shop", envelope=envelope, options=options, message=received), site)


def built(structure: str, encoding: str, html: str) -> bytes:
    return HEADER + STRUCTURES[structure](html_part(encoding, EIGHT_BIT if html == "8bit" else HTML))


def shown_html(message: Message) -> list[parts.Part]:
    return [part for part in parts.scan(message).leaves if part.content_type == "text/html" and part.disposition != "attachment"]


def opened(url: str) -> tuple[int, bool, str]:
    path, _, query = url.removeprefix(TRACKING.base).partition("#")[0].partition("?")
    visit = links.read(RING, path.encode(), query.encode())
    assert visit is not None, url
    return visit.number, visit.image, visit.destination


EXPECTED = [
    (1, True, "http://img.example.com/bg.png"),
    (2, True, "https://img.example.com/i.png"),
    (1, False, "http://www.example.com/a?b=1&c=2"),
    (2, False, "https://www.example.com/d=20e"),
    (3, False, "http://www.example.com/?x=%C3%BC"),
    (4, False, "http://www.example.com/mso"),
    (5, False, "http://www.example.com/long/" + "x" * 200),
]


@pytest.mark.parametrize(("structure", "encoding", "html"), VARIANTS)
def test_the_same_links_and_one_pixel_and_nothing_else(structure: str, encoding: str, html: str) -> None:
    received, result = run(built(structure, encoding, html))
    left = result.job.message
    assert not any(event.kind is Kind.FALLBACK for event in result.job.events)
    assert {event.subject for event in result.job.events if event.kind is Kind.APPLIED} == {
        "inlinecss",
        "trackopens",
        "trackclicks",
    }
    (before,), (after,) = shown_html(received), shown_html(left)
    text = parts.content(left, after).decode()
    # What the reader has: the same text for every way it was sent.
    assert text.removesuffix("\r\n") == _alone(html).removesuffix("\r\n")
    urls = re.findall(r'(?:href|src|background)=["\'](https://clicks\.example\.com/[^"\']*)', PIXEL.sub("", text))
    found = [opened(url.replace("&amp;", "&")) for url in urls]
    assert sorted(found) == sorted(EXPECTED)
    assert [opened(link.after) for link in result.job.links if link.number] == EXPECTED
    assert len(PIXEL.findall(text)) == 1
    assert text.count("</body>") == 1
    assert text[: text.index("</body>")].endswith(PIXEL.findall(text)[0])
    _check_the_rest(received, left, before, after)


def _check_the_rest(received: Message, left: Message, before: parts.Part, after: parts.Part) -> None:
    """Every byte outside the HTML part, and every header field but the transfer encoding's, must be what was sent."""
    own = (b"content-transfer-encoding",) if before.header is None else ()
    assert [field for field in left.fields if field.name.lower() not in own] == [
        field for field in received.fields if field.name.lower() not in own
    ]
    if before.header is None or after.header is None:
        return
    assert left.body[: after.header.start] == received.body[: before.header.start]
    assert left.body[after.body.end :] == received.body[before.body.end :]
    old, new = (message.body[slice(*part.header)] for message, part in ((received, before), (left, after)) if part.header)
    encoding = re.compile(rb"(?im)^content-transfer-encoding:.*\r\n")
    assert encoding.sub(b"", new) == encoding.sub(b"", old)
    assert after.encoding in (before.encoding, "quoted-printable")


_results: dict[str, str] = {}


def _alone(html: str) -> str:
    """What becomes of the HTML text sent alone and as it is."""
    if html not in _results:
        _, result = run(built("alone", "8bit", html))
        (part,) = shown_html(result.job.message)
        _results[html] = parts.content(result.job.message, part).decode()
    return _results[html]


@pytest.mark.parametrize(("structure", "encoding", "html"), VARIANTS)
def test_what_leaves_comes_through_any_relay(structure: str, encoding: str, html: str) -> None:
    _, result = run(built(structure, encoding, html))
    (after,) = shown_html(result.job.message)
    sent = result.job.message.body[slice(*after.body)]
    assert sent.isascii()
    assert all(len(line) <= 998 for line in sent.split(b"\r\n"))
    assert result.job.message.body.endswith(b"\r\n")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("structure", ["related", "alternative with related", "all of them"])
def test_a_hosted_image_is_fetched_by_way_of_the_tracking_host(structure: str, encoding: str) -> None:
    html = HTML.replace("https://img.example.com/i.png", "cid:i@example.com")
    raw = HEADER + STRUCTURES[structure](html_part(encoding, html))
    received, result = run(raw, replace(ALL, images=Images.HOSTED))
    left = result.job.message
    assert {event.subject for event in result.job.events if event.kind is Kind.APPLIED} == {
        "images",
        "inlinecss",
        "trackopens",
        "trackclicks",
    }
    (image,) = result.job.images
    assert "cid:" not in parts.content(left, shown_html(left)[0]).decode()
    assert [part.content_type for part in parts.scan(left).leaves].count("image/png") == 0
    hosted = [link for link in result.job.links if link.image and image.name in link.before]
    (link,) = hosted
    read = links.read_hosted(RING, link.after.removeprefix(TRACKING.base).encode())
    assert read is not None
    assert (read.name, read.visit) == (image.name, links.Visit(recipient=result.job.recipient, number=link.number, image=True))
    kept = [
        part
        for part in parts.scan(received).leaves
        if part.content_type not in ("image/png", "text/html") or part.disposition == "attachment"
    ]
    still = [part for part in parts.scan(left).leaves if part.content_type != "text/html" or part.disposition == "attachment"]
    assert [received.body[slice(*part.body)] for part in kept] == [left.body[slice(*part.body)] for part in still]


def test_of_two_shown_parts_the_first_has_the_pixel_and_both_their_links() -> None:
    raw = HEADER + multipart("mixed", html_part("base64", HTML), text_part(), html_part("quoted-printable", EIGHT_BIT))
    _, result = run(raw)
    texts = [parts.content(result.job.message, part).decode() for part in shown_html(result.job.message)]
    assert [len(PIXEL.findall(text)) for text in texts] == [1, 0]
    assert [link.number for link in result.job.links if link.number and not link.image] == [*range(1, 11)]
    assert [link.number for link in result.job.links if link.image] == [1, 2, 3, 4]


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "", "us-ascii", "shift_jis", "gb18030", "koi8-r"])
def test_a_character_set_stays_what_it_is(charset: str) -> None:
    word = {"shift_jis": "ソ表", "gb18030": "中文", "koi8-r": "Привет", "us-ascii": "Hi"}.get(charset, "Grün")
    html = f'<p>{word}<a href="http://www.example.com/a">{word}</a><a href="http://www.example.com/{word}">x</a></body>'
    content = html.encode(charset or "utf-8")
    field = b"Content-Type: text/html%b\r\n\r\n" % (b"; charset=" + charset.encode() if charset else b"")
    received, result = run(HEADER + field + content + b"\r\n")
    (part,) = shown_html(result.job.message)
    after = parts.content(result.job.message, part).decode(charset or "utf-8")
    assert after.count(word) == html.count(word) - (charset == "")  # there the link's own is escaped
    assert [link.number for link in result.job.links] == ([1, 2] if charset in ("", "us-ascii") else [1, 0])
    assert PIXEL.sub("", after).replace(result.job.links[0].after, "http://www.example.com/a")[:45] == html[:45]
    assert [field for field in result.job.message.fields if field.name == b"Content-Type"] == [
        field for field in received.fields if field.name == b"Content-Type"
    ]


@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "iso-2022-jp", "x-unheard-of", "hz-gb-2312"])
def test_a_character_set_that_hides_ascii_is_left_alone(charset: str) -> None:
    raw = HEADER + b"Content-Type: text/html; charset=" + charset.encode() + b"\r\n\r\n<a href=http://www.example.com/>x</a>\r\n"
    received, result = run(raw)
    assert result.job.message == received
    skipped = {event.subject: event.reason for event in result.job.events if event.kind is Kind.SKIPPED}
    assert skipped == dict.fromkeys(
        ("inlinecss", "trackopens", "trackclicks"), "character set is unknown or not ASCII-compatible"
    )
