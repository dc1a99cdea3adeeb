"""Embedded pictures that are served from the host: which ones go, which stay and why, and that nothing else changes."""

from base64 import encodebytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.host_images import MOST
from filters.job import Envelope, Job, Result, Site, Tracking
from filters.mail import parts, picture
from filters.mail.message import Message
from filters.pipeline import transform
from journal.event import Kind
from journal.links import hosted
from journal.seal import Ring, SealingKey
from policy.options import Images, Options

RING = Ring([SealingKey(id=0, secret=bytes(range(64)), created=0, active=0)], now=1)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=1)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0" + bytes(40)
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def image(identifier: str, content: bytes = PNG, kind: str = "image/png", *more: str) -> bytes:
    fields = [f"Content-Type: {kind}", f"Content-ID: <{identifier}>", "Content-Transfer-Encoding: base64", *more]
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + encodebytes(content).replace(b"\n", b"\r\n")


def html(text: str, kind: str = "text/html; charset=utf-8") -> bytes:
    return f"Content-Type: {kind}\r\n\r\n{text}\r\n".encode()


def multipart(*inside: bytes, kind: str = "related", more: str = "", boundary: str = "b") -> bytes:
    between = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in inside)
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"{more}\r\n\r\n'.encode()
    return head + between + f"--{boundary}--\r\n".encode()


def run(body: bytes) -> tuple[Message, Result]:
    message = Message.parse(b"From: a@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n" + body)
    envelope = Envelope(mail_from="", rcpt_to=("a@example.net", "b@example.net"))
    options = Options(images=Images.HOSTED)
    done = transform(Job(login="0" * 32, account="shop", envelope=envelope, options=options, message=message), SITE)
    assert not any(event.kind is Kind.FALLBACK for event in done.job.events), done.job.events
    return message, done


def told(result: Result) -> list[tuple[Kind, str]]:
    return [(event.kind, event.reason) for event in result.job.events if event.subject == "images"]


def shown(message: Message) -> str:
    """The HTML of a message."""
    (part,) = (part for part in parts.scan(message).leaves if part.content_type == "text/html")
    return parts.content(message, part).decode()


def kinds(message: Message) -> list[str]:
    return [part.content_type for part in parts.scan(message).leaves]


URL = hosted(picture.name(PNG, "png"), TRACKING.base)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<img src="cid:i@x">', '<img src="{URL}">'),
        ("<img alt=a src=cid:i@x width=1>", '<img alt=a src="{URL}" width=1>'),
        ("<IMG SRC='CID:i@x'>", "<IMG SRC='{URL}'>"),
        ("<img src='cid:i%40x'>", "<img src='{URL}'>"),
        ("<img src='cid:i&#64;x'>", "<img src='{URL}'>"),
        ("<img src='\ncid:i@x '>", "<img src='{URL}'>"),
        ("<img src=cid:i@x><img src=cid:i@x>", '<img src="{URL}"><img src="{URL}">'),
        ("<body background='cid:i@x'><td background=cid:i@x>", "<body background='{URL}'><td background=\"{URL}\">"),
        ("<!--[if mso]><v:fill src='cid:i@x'/><![endif]-->", "<!--[if mso]><v:fill src='{URL}'/><![endif]-->"),
        ("<img src=cid:i@x><img src=cid:j@x><a href=cid:k>", '<img src="{URL}"><img src=cid:j@x><a href=cid:k>'),
    ],
)
def test_a_picture_that_is_shown_goes_and_is_shown_from_the_host(before: str, after: str) -> None:
    _, result = run(multipart(html(before), image("i@x"), image("other@x", GIF, "image/gif")))
    assert told(result) == [(Kind.APPLIED, "")]
    assert shown(result.job.message).strip() == after.replace("{URL}", URL)
    assert [(file.name, file.content) for file in result.job.images] == [(URL.rpartition("/")[2], PNG)]
    assert kinds(result.job.message) == ["text/html", "image/gif"]
    assert not result.split
    assert not result.job.links


CID = '<img src="cid:i@x">'
STAYING = {
    "it is named in a style sheet": (f"{CID}<style>p{{background:url(cid:i@x)}}</style>", image("i@x"), "named elsewhere"),
    "escaped in a style sheet": (f"{CID}<style>p{{background:url(cid:\\69 @x)}}</style>", image("i@x"), "named elsewhere"),
    "escaped otherwise": (f"{CID}<p style='background:url(ci\\d:i\\@x)'>", image("i@x"), "named elsewhere"),
    "in a style attribute": (f"{CID}<p style='background:url(cid:i&#64;x)'>", image("i@x"), "named elsewhere"),
    "in a set of images": ('<img src="cid:i@x" srcset="cid:i@x 2x">', image("i@x"), "named elsewhere"),
    "in a link": (f"{CID}<a href='cid:i%40x'>", image("i@x"), "named elsewhere"),
    "in a comment": (f"{CID}<!-- cid:i@x -->", image("i@x"), "named elsewhere"),
    "with a fragment": (f"{CID}<img src='cid:i@x#a'>", image("i@x"), "named elsewhere"),
    "in a second attribute of the name": ("<img src='cid:i@x' src='cid:i@x'>", image("i@x"), "named elsewhere"),
    "it is no picture": (CID, image("i@x", b"<script>alert(1)</script>"), "no png, jpeg, gif or webp"),
    "it is a picture that runs": (CID, image("i@x", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "no png, jpeg, gif or webp"),
    "it is empty": (CID, image("i@x", b""), "no png, jpeg, gif or webp"),
    "it cannot be decoded": (CID, image("i@x").replace(b"base64", b"x-odd"), "unknown transfer encoding"),
    "it is an attachment too": (CID, image("i@x", PNG, "image/png", "Content-Disposition: attachment"), "an attachment"),
}


@pytest.mark.parametrize("name", STAYING)
def test_a_picture_stays_where(name: str) -> None:
    text, part, reason = STAYING[name]
    message, result = run(multipart(html(text), part))
    assert result.job.message == message
    assert result.job.images == ()
    ((kind, why),) = told(result)
    assert (kind, why.startswith("1 image: ")) == (Kind.KEPT, True)
    assert reason in why


NOTHING = {
    "there is none": multipart(html(CID), html("x", "text/plain")),
    "it has another name": multipart(html(CID), image("j@x")),
    "two have the name": multipart(html(CID), image("i@x"), image("i@x", GIF)),
    "it is no image by its label": multipart(html(CID), image("i@x", PNG, "application/octet-stream")),
    "it is no part of a related": multipart(html(CID), image("i@x"), kind="mixed"),
    "it is what the related is for": multipart(image("i@x"), html(CID)),
    "it is named as what the related is for": multipart(html(CID), image("i@x"), more='; start="<i@x>"'),
    "it is not shown": multipart(html("<p>"), image("i@x")),
    "only a comment shows it": multipart(html(f"<!-- {CID} -->"), image("i@x")),
    "the HTML is an attachment": multipart(
        html(CID).replace(b"\r\n", b"\r\nContent-Disposition: attachment\r\n", 1), image("i@x")
    ),
    "the HTML cannot be edited": multipart(html(CID, "text/html; charset=utf-7"), image("i@x")),
    "one of the HTML parts cannot be edited": multipart(html(CID), html(CID, "text/html; charset=utf-7"), image("i@x")),
    "it is signed": multipart(multipart(html(CID), image("i@x")), html("x", "text/plain"), kind="signed", boundary="s"),
    "there is no HTML": html(CID, "text/plain"),
    "the structure is broken": multipart(html(CID), image("i@x")).replace(b"--b--\r\n", b""),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_done_and_that_is_told_where(name: str) -> None:
    message, result = run(NOTHING[name])
    assert result.job.message == message
    assert result.job.images == ()
    found = told(result)
    assert found
    assert all(kind is Kind.SKIPPED and reason for kind, reason in found)


def test_the_same_picture_twice_is_one_file() -> None:
    _, result = run(multipart(html("<img src=cid:i@x><img src=cid:j@x>"), image("i@x"), image("j@x")))
    assert len(result.job.images) == 1
    assert shown(result.job.message).count(URL) == 2
    assert kinds(result.job.message) == ["text/html"]


def test_some_go_and_some_stay() -> None:
    text = "<img src=cid:i@x><img src=cid:j@x><img src=cid:k@x>"
    _, result = run(multipart(html(text), image("i@x"), image("j@x", b"x"), image("k@x", GIF)))
    assert told(result) == [(Kind.KEPT, "1 image: it is no png, jpeg, gif or webp"), (Kind.APPLIED, "")]
    assert {file.name[-3:] for file in result.job.images} == {"png", "gif"}
    assert kinds(result.job.message) == ["text/html", "image/png"]
    assert "cid:j@x" in shown(result.job.message)


def test_no_more_than_a_number_of_them() -> None:
    count = MOST + 2
    text = "".join(f"<img src=cid:number-{number}-@x>" for number in range(count))
    _, result = run(multipart(html(text), *(image(f"number-{number}-@x", PNG + bytes([number])) for number in range(count))))
    assert len(result.job.images) == MOST
    assert (Kind.KEPT, f"2 images: more than {MOST} embedded images") in told(result)


def test_the_type_a_picture_has_is_that_of_its_bytes() -> None:
    _, result = run(multipart(html(CID), image("i@x", GIF, "image/png")))
    (file,) = result.job.images
    assert file.name.endswith(".gif")


def test_every_other_byte_stays() -> None:
    text, attached = html("<b>text</b> cid", "text/plain"), html("PDF", "application/pdf")
    body = multipart(multipart(html(CID), image("i@x"), image("j@x"), boundary="inner"), text, attached, kind="mixed")
    message, result = run(body)
    left = result.job.message
    assert left.fields == message.fields
    assert kinds(left) == ["text/html", "image/png", "text/plain", "application/pdf"]
    gone = message.body.index(b"--inner\r\nContent-Type: image/png\r\nContent-ID: <i@x>")
    end = message.body.index(b"--inner\r\nContent-Type: image/png\r\nContent-ID: <j@x>")
    assert left.body == (message.body[:gone] + message.body[end:]).replace(CID.encode(), f'<img src="{URL}">'.encode())


PIECES = [
    "cid:i@x",
    "CID:i%40x",
    "<img src=",
    "<img src='",
    '<td background="',
    "'",
    '"',
    ">",
    "<!--",
    "-->",
    "<style>",
    "</style>",
    "\\69",
    " ",
    "x",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_picture_is_shown_from_the_host_or_still_there(text: str) -> None:
    message, result = run(multipart(html(text), image("i@x")))
    left = result.job.message
    if result.job.images:
        assert URL in shown(left)
        assert "cid:i@x" not in shown(left).lower()
        assert kinds(left) == ["text/html"]
    else:
        assert left == message
