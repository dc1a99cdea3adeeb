"""Who a message may be from, asked of the whole transformation; the same rows go through Postfix in tests/system."""

from dataclasses import replace

import pytest

from filters.job import Envelope, Job, Site, Tracking
from filters.mail.message import Message
from filters.pipeline import transform
from journal.seal import Ring, SealingKey
from policy.identity import Identity
from policy.options import Options
from policy.reply import Refused

RING = Ring((SealingKey(id=0, secret=bytes(64), created=0, active=0),), now=0)
TRACKING = Tracking(base="https://clicks.example.com", hosts=frozenset({"clicks.example.com"}))
OWN = Identity(account="shop", words=(), owners={"shop.test": "shop", "rival.test": "rival"}, required=False)


def reply_to(header: str, mail_from: str, identity: Identity | None, *, copy: bool = False) -> str:
    """The refusal of a message, "" where it is accepted."""
    message = Message.parse(f"{header}\r\nTo: reader@example.net\r\nSubject: x\r\n\r\nhello\r\n".encode())
    envelope = Envelope(mail_from=mail_from, rcpt_to=("reader@example.net",))
    job = Job(login="a", account="shop", envelope=envelope, options=Options(), message=message, copy=copy)
    site = Site(signers=lambda author: (), tracking=lambda domain: TRACKING, ring=RING, now=0, identity=identity)
    try:
        transform(job, site)
    except Refused as refusal:
        return str(refusal.reply)
    return ""


def test_the_matrix_of_logins_domains_and_fields(identity_rows, sender_domains) -> None:
    owners = {name: account for account, names in sender_domains.items() for name in names}
    wrong = []
    for row in identity_rows:
        identity = Identity(account="shop", words=row.senders, owners=owners, required=row.required)
        reply = reply_to(row.header, row.mail_from, identity)
        if not (reply.startswith(row.reply) if row.reply else not reply):
            wrong.append((row, reply))
    assert wrong == []
    assert len(identity_rows) >= 2000
    assert min(sum(row.reply == reply for row in identity_rows) for reply in ("", "550 5.7.1", "553 5.7.1", "550 5.6.0")) > 30


@pytest.mark.parametrize(
    ("header", "reply"),
    [
        ("From: a@rival.test", "550 5.7.1 From rival.test belongs to another account; this login may send as shop.test, "),
        ("From: a@shop.test\r\nSender: b@x.rival.test", "550 5.7.1 Sender x.rival.test belongs to another account; "),
        ("From: a@shop.test\r\nFrom: a@shop.test", "550 5.6.0 This message has more than one From field"),
        ("From: a@shop.test\r\nSender:\r\nsender: ", "550 5.6.0 This message has more than one Sender field"),
        ("From: a@shop.test b", "550 5.6.0 The From field cannot be read without doubt: "),
        ("From: a@shop.test\r\nSender: <b", "550 5.6.0 The Sender field cannot be read without doubt: "),
        ("Subject: none", ""),
        ("From:", ""),
    ],
)
def test_a_refusal_says_which_field_and_why(header: str, reply: str) -> None:
    assert reply_to(header, "a@shop.test", OWN).startswith(reply)
    assert bool(reply_to(header, "a@shop.test", OWN)) == bool(reply)


def test_mail_from_is_asked_again_at_the_end() -> None:
    assert reply_to("From: a@shop.test", "a@rival.test", OWN).startswith("553 5.7.1 MAIL FROM rival.test belongs")
    assert reply_to("From: a@shop.test", '"a@rival.test"@shop.test', OWN).startswith("553 5.7.1 The address in MAIL FROM cannot")
    assert reply_to("From: a@shop.test", "a", OWN).startswith("553 5.7.1 The address in MAIL FROM cannot")
    assert reply_to("From: a@shop.test", "a@shop.test", OWN) == ""


@pytest.mark.parametrize("header", ["Subject: none", "From: <>", "From: Group:;", "From: MAILER-DAEMON", "Sender: a@shop.test"])
def test_an_empty_mail_from_needs_an_author(header: str) -> None:
    assert reply_to(header, "", OWN).startswith("550 5.7.1 ")


def test_without_an_identity_only_the_form_of_the_fields_is_asked() -> None:
    assert reply_to("From: a@rival.test", "", None) == ""
    assert reply_to("From: a@rival.test b", "", None).startswith("550 5.6.0 ")


def test_copies_are_not_asked_again() -> None:
    assert reply_to("From: a@rival.test", "a@rival.test", OWN, copy=True) == ""


@pytest.mark.parametrize("words", [(), ("50%off@shop.test", "jörg@shop.test", "shop.test"), ("50%off@shop.test",)])
def test_every_reply_may_be_said_by_a_milter(words: tuple[str, ...]) -> None:
    reply = reply_to("From: a@rival.test", "50%off@shop.test", replace(OWN, words=words))
    assert reply.isascii()
    assert reply.startswith("550 5.7.1 From rival.test belongs to another account; ")
    assert "%" not in reply
