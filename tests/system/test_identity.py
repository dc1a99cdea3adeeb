"""Nobody's mail leaves under the domain of another account, whatever a message looks like and however it is read."""

import smtplib
import subprocess
from collections.abc import Callable
from email import message_from_bytes, policy
from email.utils import getaddresses
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

STRIDE = 5  # of the rows, every so many go through Postfix; all of them are asked in tests/filters
PATIENCE = 4  # refusals in a session; at the fifth error Postfix ends it
BODY = "\r\nTo: reader@example.net\r\nSubject: x\r\n\r\nhello\r\n"


class Market:
    """A service with the accounts and logins of the rows."""

    def __init__(
        self, service: Any, domains: dict[str, list[str]], lists: dict[str, tuple[str, ...]], send: Callable[..., str]
    ) -> None:
        self.service = service
        self._send = send
        self._seen: set[Path] = set()
        for account, names in domains.items():
            service.run("account", "add", account, "--approve")
            for name in names:
                service.domain(name, account=account)
        self._logins = {
            name: service.login(*(word for sender in senders for word in ("--sender", sender))) for name, senders in lists.items()
        }

    def replies(self, login: str, messages: list[tuple[str, str | bytes, str]]) -> list[str]:
        """The refusal of each message (MAIL FROM, header, recipient), "" where it is accepted."""
        found: list[str] = []
        left = list(messages)
        while left:
            with self.service.client(self._logins[login]) as client:
                refused = 0
                while left and refused < PATIENCE:
                    found.append(self._reply(client, *left.pop(0)))
                    refused += bool(found[-1])
        return found

    def _reply(self, client: smtplib.SMTP, mail_from: str, header: str | bytes, to: str) -> str:
        header = header if isinstance(header, bytes) else header.encode()
        try:
            self._send(client, header + BODY.encode(), (to,), mail_from=mail_from)
        except smtplib.SMTPResponseException as refusal:
            return f"{refusal.smtp_code} {refusal.smtp_error.decode()}"
        return ""

    def left(self, wait: Callable[..., Any], count: int) -> list[Path]:
        """The messages that left since the last time, once there are so many."""
        new = wait(
            lambda: (found := set(self.service.outbox.glob("*.eml")) - self._seen) and len(found) >= count and found, "mail"
        )
        self._seen |= new
        return sorted(new)


@pytest.fixture(scope="module")
def market(make_service, sender_domains, identity_rows, transaction) -> Market:
    lists = {row.login: row.senders for row in identity_rows if not row.required}
    return Market(make_service(), sender_domains, lists, transaction)


def readers(raw: bytes) -> list[str]:
    """The addresses in From and Sender as three readers see them: two of Python's, and Perl's."""
    found: list[str] = []
    old, new = message_from_bytes(raw), message_from_bytes(raw, policy=policy.default)
    perl = 'chomp($_ = <STDIN> // ""); print join("\\n", map { $_->address // "" } Mail::Address->parse($_))'
    for field in ("From", "Sender"):
        texts = [str(value).replace("\r\n", "") for value in old.get_all(field, [])]
        found += [address for _, address in getaddresses(texts)]
        values = new.get_all(field, [])
        found += [address.addr_spec for value in values for address in value.addresses]
        for text in texts:
            command = ("perl", "-MMail::Address", "-e", perl)
            done = subprocess.run(command, input=text.encode(errors="replace"), capture_output=True, check=True)
            found += done.stdout.decode().split("\n")
    return found


def is_of_rival(address: str) -> bool:
    domain = "." + address.rpartition("@")[2].rstrip(".>").lower()
    return (domain.endswith(".rival.test") and not domain.endswith(".news.rival.test")) or domain.endswith(".mail.shop.test")


def check_what_left(paths: list[Path]) -> None:
    for path in paths:
        found = readers(path.read_bytes())
        assert found
        assert not any(map(is_of_rival, found)), path.read_bytes()


def go_through(market: Market, rows: list[Any], wait: Callable[..., Any]) -> None:
    """Sends the rows; each must be answered as it says, and what leaves must be nobody else's."""
    wrong, accepted = [], 0
    for login in dict.fromkeys(row.login for row in rows):
        own = [row for row in rows if row.login == login]
        # RCPT TO:<postmaster> passes by the policy server: there MAIL FROM is refused at the end of the message.
        to = [
            "postmaster" if row.mail_from and row.reply and number % 2 else "reader@example.net" for number, row in enumerate(own)
        ]
        replies = market.replies(login, [(row.mail_from, row.header, recipient) for row, recipient in zip(own, to, strict=True)])
        for row, recipient, reply in zip(own, to, replies, strict=True):
            if not (reply.startswith(row.reply) if row.reply else not reply):
                wrong.append((row, recipient, reply))
            accepted += not reply
    assert wrong == []
    assert accepted > 20
    left = market.left(wait, accepted)
    assert len(left) == accepted
    check_what_left(left)


def test_the_matrix_of_logins_domains_and_fields(market, identity_rows, wait) -> None:
    rows = [row for row in identity_rows if not row.required][::STRIDE]
    assert len(rows) >= 200
    go_through(market, rows, wait)


ENVELOPES = [
    ("me@shop.test", ""),
    ("me@SHOP.Test", ""),
    ("me@shop.test.", ""),
    ('"me"@shop.test', ""),
    ("me+tag=x%y@shop.test", ""),
    ("me@elsewhere.test", ""),
    ("me@rival.test", "553 5.7.1"),
    ("me@RIVAL.test.", "553 5.7.1"),
    ("me@a.rival.test", "553 5.7.1"),
    ("me@mail.shop.test", "553 5.7.1"),
    ('"me@rival.test"@shop.test', "553 5.7.1"),
    ("me@rival.test@shop.test", "5"),
    ("@rival.test:me@shop.test", "553 5.7.1"),
    ("@shop.test:me@rival.test", "553 5"),
    ("me%rival.test", "5"),
    ("rival.test!me", "5"),
    ("me", "5"),
]


@pytest.mark.parametrize("recipient", ["reader@example.net", "postmaster"])
def test_what_mail_from_may_be(market, wait, recipient: str) -> None:
    header = "From: me@shop.test"
    expected = [(mail_from, reply) for mail_from, reply in ENVELOPES if reply or recipient != "postmaster"]
    replies = market.replies("open", [(mail_from, header, recipient) for mail_from, _ in expected])
    wrong = [
        (mail_from, text)
        for (mail_from, code), text in zip(expected, replies, strict=True)
        if not (text.startswith(code) if code else not text)
    ]
    assert wrong == []
    early = ["Recipient address rejected: MAIL FROM" in text for text in replies if text.startswith("553 5.7.1")]
    assert len(early) > 5
    assert (sum(early) >= 4) if recipient != "postmaster" else not any(early)
    if recipient != "postmaster":
        left = market.left(wait, replies.count(""))
        senders = [path.with_suffix(".json").read_text() for path in left]
        assert not any(".rival" in sender or "@rival" in sender.lower() for sender in senders)


HEADERS = [
    (b"From : me@rival.test", ""),  # at the top it is a line of a mailbox file, which Postfix renames
    (b"X: y\r\nFrom : me@rival.test", "550 5.7.1"),
    (b"fROM:me@rival.test", "550 5.7.1"),
    (b"From:\r\n me@rival.test", "550 5.7.1"),
    (b"From: me@rival\r\n .test", "550 5.7.1"),
    (b"From: me@shop.test\r\nFrom : me@rival.test", "550 5.6.0"),
    (b"From: me@shop.test\r\nX: y\r\nFROM:me@rival.test", "550 5.6.0"),
    (b"From: me@shop.test\rFrom: me@rival.test", "550 5"),
    (b"From: me@ri\0val.test", "550 5.7.1"),
    (b"From: <me@rival.test\0> <me@shop.test>", "550 5.6.0"),
    (b"From: =?utf-8?q?=3Cme=40rival.test=3E?= <me@shop.test>", "550 5.7.1"),
    (b"From: me@r\xc4\xb1val.test", ""),
    (b"From: me@\xff\xfe.test", "550 5.6.0"),
    (b"From: me@\xef\xbd\x92ival.test", "550 5.7.1"),
    (b"From: me\xef\xbc\xa0rival.test <me@shop.test>", "550 5.7.1"),
    (b"From: J\xf6rg <me@shop.test>", ""),
    (b"From: me <me@shop.test>\r\nReply-To: me@rival.test", ""),
]


def test_no_way_to_write_a_field_hides_it(market, wait) -> None:
    replies = market.replies("open", [("me@shop.test", header, "reader@example.net") for header, _ in HEADERS])
    wrong = [
        (header, text)
        for (header, code), text in zip(HEADERS, replies, strict=True)
        if not (text.startswith(code) if code else not text)
    ]
    assert wrong == []
    check_what_left(market.left(wait, replies.count("")))


def test_an_author_that_postfix_adds_is_that_of_mail_from(market, wait) -> None:
    header = "Date: Mon, 2 Feb 2026 10:00:00 +0000"
    assert market.replies("address", [("me@shop.test", header, "a@example.net")]) == [""]
    (left,) = market.left(wait, 1)
    assert readers(left.read_bytes())[0] == "me@shop.test"
    (reply,) = market.replies("address", [("", header, "a@example.net")])
    assert reply.startswith("550 5.7.1 ")


def test_the_matrix_where_a_sender_domain_is_required(make_service, sender_domains, identity_rows, transaction, wait) -> None:
    service = make_service()
    service.stop()
    service.settings = service.folder / "settings.toml"
    service.settings.write_text("require_sender_domain = true\n")
    service.start()
    rows = [row for row in identity_rows if row.required]
    market = Market(service, sender_domains, {row.login: row.senders for row in rows}, transaction)
    go_through(market, rows[::STRIDE], wait)
