"""Sessions of any order of commands: what got 250 arrives once as it was meant, and nothing else ever does."""

import re
import smtplib
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

pytestmark = pytest.mark.system

ERRORS = 5  # smtpd_hard_error_limit of postfix/main.cf; the next command gets 421, a message that arrives begins anew
NUMBERS = count()
HEADER = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: %b\r\n"
GOOD = {
    "plain": b"\r\nhello\r\n",
    "control fields": b"X-SMTPeter-InlineCSS: true\r\nx-smtpeter: 1\r\nX-SMTPETER-tags :\r\n a, b\r\n\r\nhello\r\n",
    "HTML": b"X-SMTPeter-InlineCSS: on\r\nContent-Type: text/html\r\n\r\n<style>p{color:red}</style><p>hello</p>\r\n",
    "no body": b"",
    "dots": b"\r\n.\r\n..\r\n.QUIT\r\n",
}
BAD = {
    "malformed": b"no field\r\nX-SMTPeter-Tags: a\r\n\r\nhello\r\n",
    "two From": b"From: other@example.com\r\n\r\nhello\r\n",
    "long field": b"References:" + b" <x@example.com>\r\n" * 4000 + b"\r\nhello\r\n",
}
SLOTS = st.integers(0, 1)  # two sessions at the same time
ENDINGS = st.sampled_from([*GOOD, *BAD])
ADDRESSES = st.sampled_from(["a@example.net", "b@example.net", "c@example.org"])
SENDERS = st.sampled_from(["news@example.com", "", "other@example.com"])


@dataclass
class Session:
    """One connection after STARTTLS, and what the server must know of it."""

    client: smtplib.SMTP
    authenticated: bool = False
    mail_from: str | None = None
    rcpt_to: list[str] = field(default_factory=list)
    errors: int = 0
    over: bool = False

    def say(self, *words: str, expect: int) -> bool:
        """Whether the command got the expected code, and that is below 400; a server that has had enough says 421."""
        if self.over:
            return False
        code, text = self.client.docmd(*words)
        if self.errors >= ERRORS:
            assert code == 421, text
            self.close()
            return False
        assert code == expect, text
        self.errors += code >= 400
        return code < 400

    def log_in(self, login, password: str) -> None:
        free = not self.authenticated and self.mail_from is None
        verdict = 235 if password == login.password else 535
        plain = b64encode(f"\0{login.name}\0{password}".encode()).decode()
        if self.say("AUTH", f"PLAIN {plain}", expect=verdict if free else 503):
            self.authenticated = True

    def mail(self, address: str) -> None:
        code = 503 if self.mail_from is not None else 250 if self.authenticated else 530
        if self.say("MAIL", f"FROM:<{address}>", expect=code):
            self.mail_from = address

    def rcpt(self, address: str) -> None:
        if self.say("RCPT", f"TO:<{address}>", expect=503 if self.mail_from is None else 250):
            self.rcpt_to.append(address)

    def begin_data(self) -> bool:
        return self.say("DATA", expect=503 if self.mail_from is None else 354 if self.rcpt_to else 554)

    def end_data(self, message: bytes, *, expect: int) -> str:
        """Sends the message; its queue id, or "" where it was refused."""
        self.client.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        code, text = self.client.getreply()
        assert code == expect, text
        self.errors = 0 if code == 250 else self.errors + 1
        return text.decode().rpartition(" ")[2] if code == 250 else ""

    def forget(self) -> None:
        self.mail_from, self.rcpt_to = None, []

    def close(self) -> None:
        self.over = True
        self.client.close()


def machine_for(service, login) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.open: dict[int, Session] = {}
            self.sent: set[str] = set()
            self.accepted: dict[str, tuple[str, str, list[str]]] = {}

        def session(self, slot: int) -> Session:
            if slot not in self.open or self.open[slot].over:
                self.open[slot] = Session(service.client(address=f"127.0.5.{1 + next(NUMBERS) % 250}"))
            return self.open[slot]

        def header(self) -> tuple[str, bytes]:
            """The mark of a new message, and its header."""
            mark = f"machine-{next(NUMBERS)}."
            self.sent.add(mark)
            return mark, HEADER % mark.encode()

        @rule(slot=SLOTS)
        def log_in(self, slot: int) -> None:
            self.session(slot).log_in(login, login.password)

        @rule(slot=SLOTS, address=SENDERS)
        def mail(self, slot: int, address: str) -> None:
            self.session(slot).mail(address)

        @rule(slot=SLOTS, address=ADDRESSES)
        def rcpt(self, slot: int, address: str) -> None:
            self.session(slot).rcpt(address)

        @rule(slot=SLOTS, ending=ENDINGS)
        def data(self, slot: int, ending: str) -> None:
            session = self.session(slot)
            if session.begin_data():
                mark, header = self.header()
                queue_id = session.end_data(header + (GOOD | BAD)[ending], expect=250 if ending in GOOD else 550)
                if queue_id:
                    self.accepted[mark] = (queue_id, session.mail_from or "", session.rcpt_to)
                session.forget()

        @rule(slot=SLOTS)
        def begin(self, slot: int) -> None:
            """All that must come before DATA, since few sequences get that far by chance."""
            self.simple(slot, "RSET")
            session = self.session(slot)
            if not session.authenticated:
                session.log_in(login, login.password)
            session.mail("news@example.com")
            session.rcpt("a@example.net")

        @rule(slot=SLOTS, ending=ENDINGS)
        def whole_message(self, slot: int, ending: str) -> None:
            self.begin(slot)
            self.data(slot, ending)

        @rule(slot=SLOTS, command=st.sampled_from(["EHLO client.test", "RSET", "NOOP", "XYZZY", "AUTH"]))
        def simple(self, slot: int, command: str) -> None:
            session = self.session(slot)
            if command == "AUTH":
                # Another name each time: the answers for one that is guessed take longer and longer.
                session.log_in(replace(login, name=f"{next(NUMBERS):032x}"), "wrong")
            elif session.say(command, expect=500 if command == "XYZZY" else 250) and command != "NOOP":
                session.forget()

        @rule(slot=SLOTS, how=st.sampled_from(["QUIT", "at once", "in DATA"]))
        def leave(self, slot: int, how: str) -> None:
            session = self.session(slot)
            if how == "QUIT":
                session.say("QUIT", expect=221)
            elif how == "in DATA" and session.begin_data():
                session.client.send(self.header()[1] + b"\r\nhalf of")
            session.close()

        def teardown(self) -> None:
            for session in self.open.values():
                session.close()
            for queue_id, mail_from, rcpt_to in self.accepted.values():
                left = service.captured(queue_id)
                assert left.envelope["mail_from"] == mail_from
                # Postfix sends one copy to an address that was named twice.
                assert sorted(each["address"] for each in left.envelope["rcpt_to"]) == sorted(set(rcpt_to))
                assert not re.search(rb"(?im)^x-smtpeter(?:-[^:]*)?[ \t]*:", left.header)
                assert b"DKIM-Signature:" in left.header
            found = Counter(mark for mark in map(mark_of, service.outbox.glob("*.eml")) if mark in self.sent)
            assert found == Counter(self.accepted.keys())

    return Machine


MARKS: dict[Path, str] = {}


def mark_of(path: Path) -> str:
    """The number in the subject of a message that left, "" for those of other tests."""
    if path not in MARKS:
        found = re.search(rb"^Subject: (machine-\d+\.)\r$", path.read_bytes(), re.MULTILINE)
        MARKS[path] = found[1].decode() if found else ""
    return MARKS[path]


def test_any_order_of_commands(service, login) -> None:
    run_state_machine_as_test(
        lambda: machine_for(service, login)(),
        settings=settings(max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
