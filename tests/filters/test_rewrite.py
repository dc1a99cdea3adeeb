"""Changing the HTML of a message: which parts, what the events say, and that a wrong result never leaves."""

from dataclasses import replace

import pytest

import filters.rewrite
from filters.job import Envelope, Job
from filters.mail import parts
from filters.mail.message import Message
from filters.rewrite import Rewritten, Unsound, check_faithful, rewrite_html
from journal.event import Kind
from policy.options import Options

MIXED = b"""\
From: news@example.com\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="m"\r
\r
preamble\r
--m\r
Content-Type: multipart/alternative; boundary="a"\r
\r
--a\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<b>gr\xc3\xbcn</b>\r
--a\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
<b>gr\xc3\xbcn</b>\r
--a--\r
--m\r
Content-Type: text/html\r
Content-Disposition: attachment; filename=a.html\r
\r
<b>attached</b>\r
--m--\r
epilogue\r
"""


def job(raw: bytes) -> Job:
    envelope = Envelope(mail_from="", rcpt_to=())
    return Job(login="0" * 32, account="shop", envelope=envelope, options=Options(), message=Message.parse(raw))


def italic(source: str, parts: int) -> Rewritten:
    return Rewritten(source.replace("b>", "i>"))


def kinds(done: Job) -> list[tuple[Kind, str]]:
    return [(event.kind, event.reason) for event in done.events]


def test_only_html_that_is_shown_is_rewritten() -> None:
    done = rewrite_html(job(MIXED), "italic", italic)
    before, after = (parts.scan(message) for message in (Message.parse(MIXED), done.message))
    shown = [parts.content(done.message, part) for part in after.leaves]
    assert shown == ["<b>grün</b>".encode(), "<i>grün</i>".encode(), b"<b>attached</b>"]
    assert [part.encoding for part in after.leaves] == ["8bit", "quoted-printable", before.leaves[2].encoding]
    assert bytes(done.message).startswith(MIXED[: MIXED.index(b"<b>")])
    assert bytes(done.message).endswith(b"--m--\r\nepilogue\r\n")
    assert kinds(done) == [(Kind.APPLIED, "")]


def test_what_a_rewriter_declines_is_not_touched() -> None:
    done = rewrite_html(job(MIXED), "italic", lambda source, parts: Rewritten(None, "nothing to do"))
    assert bytes(done.message) == MIXED
    assert kinds(done) == [(Kind.SKIPPED, "nothing to do")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"From: a\r\n\r\nplain\r\n", "no HTML part"),
        (b"Content-Type: text/html; charset=utf-16\r\n\r\n<b>", "character set"),
        (b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-odd\r\n\r\n<b>", ""),
        (b"Content-Type: multipart/mixed\r\n\r\n<b>", "boundary"),
        (
            b'Content-Type: multipart/signed; boundary="s"\r\n\r\n--s\r\nContent-Type: text/html\r\n\r\n<b>\r\n--s--\r\n',
            "multipart/signed",
        ),
        (b"Content-Type: text/html\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n<b>\r\n", "PGP"),
    ],
)
def test_what_cannot_be_edited_says_why(raw: bytes, reason: str) -> None:
    done = rewrite_html(job(raw), "italic", italic)
    assert bytes(done.message) == raw
    assert [event.kind for event in done.events] == [Kind.SKIPPED]
    assert done.events[0].subject == "italic"
    assert reason in done.events[0].reason


@pytest.mark.parametrize(
    "disposition",
    [b"attachment (x)", b'"attachment"', b"(x) attachment", b"ATTACHMENT; filename=x", b"attachment"],
)
def test_an_attachment_is_one_however_it_is_written(disposition: bytes) -> None:
    raw = b"Content-Type: text/html\r\nContent-Disposition: " + disposition + b"\r\n\r\n<b>x</b>\r\n"
    done = rewrite_html(job(raw), "italic", italic)
    assert bytes(done.message) == raw
    assert [event.kind for event in done.events] == [Kind.SKIPPED]


def test_what_is_inside_an_attached_multipart_is_attached() -> None:
    raw = MIXED.replace(b'boundary="a"\r\n', b'boundary="a"\r\nContent-Disposition: attachment\r\n')
    done = rewrite_html(job(raw), "italic", italic)
    assert bytes(done.message) == raw
    assert kinds(done) == [(Kind.SKIPPED, "inside an attachment")]


def test_a_bug_in_a_feature_costs_the_feature_not_the_mail() -> None:
    def broken(source: str, parts: int) -> Rewritten:
        raise RuntimeError(source)

    done = rewrite_html(job(MIXED), "italic", broken)
    assert bytes(done.message) == MIXED
    assert kinds(done) == [(Kind.FALLBACK, "RuntimeError in it")]
    assert "grün" not in done.events[0].reason


def test_a_feature_that_oversteps_is_undone() -> None:
    def overstep(source: str, parts: int) -> Rewritten:
        raise Unsound("more than styles would change")

    done = rewrite_html(job(MIXED), "italic", overstep)
    assert bytes(done.message) == MIXED
    assert kinds(done) == [(Kind.FALLBACK, "more than styles would change")]


def test_a_message_that_does_not_read_back_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    real = parts.replace

    def damaged(message: Message, changes: object) -> Message:
        made = real(message, changes)
        return replace(made, body=made.body.replace(b"attached", b"attackid"))

    monkeypatch.setattr(filters.rewrite.parts, "replace", damaged)
    done = rewrite_html(job(MIXED), "italic", italic)
    assert bytes(done.message) == MIXED
    assert kinds(done) == [(Kind.FALLBACK, "a part was changed that nobody asked to change")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body.replace(b"<i>", b"<u>"),
        lambda body: body.replace(b"<b>gr", b"<b>kr"),
        lambda body: body.replace(b"attached", b"attackid"),
        lambda body: body.replace(b"filename=a.html", b"filename=b.html"),
        lambda body: body.replace(b"--m--", b"--m\r\n\r\nmore\r\n--m--"),
        lambda body: body.replace(b"text/plain", b"text/other"),
        lambda body: body.replace(b"preamble", b"preramble"),
        lambda body: body.replace(b"epilogue", b"epilog"),
    ],
)
def test_every_undeclared_change_is_found(damage) -> None:
    before = Message.parse(MIXED)
    structure = parts.scan(before)
    changes = {structure.leaves[1]: "<i>grün</i>".encode()}
    after = parts.replace(before, changes)
    check_faithful(before, structure, after, changes)
    assert damage(after.body) != after.body
    with pytest.raises(Unsound):
        check_faithful(before, structure, replace(after, body=damage(after.body)), changes)
