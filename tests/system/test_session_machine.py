"""Sessions of any order of commands: what got 250 arrives once as it was meant, and nothing else ever does."""

import re
import smtplib
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule, run_state_machine_as_test

pytestmark = pytest.mark.system

ERRORS = 5  # smtpd_hard_error_limit of postfix/main.cf; the next command gets 421, a message that arrives begins anew
NUMBERS = count()
HEADER = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: machine-%d.\r\n"
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

    def forget(self) -> None:
        self.mail_from, self.rcpt_to = None, []


def machine_for(service, login) -> type[RuleBasedStateMachine]:
    def credentials(password: str) -> str:
        return b64encode(f"\0{login.name}\0{password}".encode()).decode()

    class Machine(RuleBasedStateMachine):
        sessions = Bundle("sessions")

        def __init__(self) -> None:
            super().__init__()
            self.open: list[Session] = []
            self.sent: set[str] = set()
            self.accepted: dict[str, tuple[str, str, list[str]]] = {}

        @initialize(target=sessions)
        def first(self) -> Session:
            return self.connect()

        @rule(target=sessions)
        def connect(self) -> Session:
            self.open.append(Session(service.client()))
            return self.open[-1]

        def say(self, session: Session, *words: str, expect: int) -> bool:
            """Whether the command got the expected code; a server that has had enough says 421."""
            if session.over:
                return False
            code, _ = session.client.docmd(*words)
            return self.answered(session, code, expect)

        def answered(self, session: Session, code: int, expect: int) -> bool:
            if session.errors >= ERRORS:
                assert code == 421
                session.over = True
                return False
            assert code == expect
            session.errors += code >= 400
            return code < 400

        @rule(session=sessions)
        def ehlo(self, session: Session) -> None:
            if self.say(session, "EHLO", "client.test", expect=250):
                session.forget()

        @rule(session=sessions)
        def log_in(self, session: Session) -> None:
            free = not session.authenticated and session.mail_from is None
            if self.say(session, "AUTH", f"PLAIN {credentials(login.password)}", expect=235 if free else 503):
                session.authenticated = True

        @rule(session=sessions)
        def log_in_wrong(self, session: Session) -> None:
            free = not session.authenticated and session.mail_from is None
            self.say(session, "AUTH", f"PLAIN {credentials('wrong')}", expect=535 if free else 503)

        @rule(session=sessions, address=SENDERS)
        def mail(self, session: Session, address: str) -> None:
            code = 503 if session.mail_from is not None else 250 if session.authenticated else 530
            if self.say(session, "MAIL", f"FROM:<{address}>", expect=code):
                session.mail_from = address

        @rule(session=sessions, address=ADDRESSES)
        def rcpt(self, session: Session, address: str) -> None:
            if self.say(session, "RCPT", f"TO:<{address}>", expect=503 if session.mail_from is None else 250):
                session.rcpt_to.append(address)

        @rule(session=sessions, ending=st.sampled_from(sorted(GOOD)))
        def data(self, session: Session, ending: str) -> None:
            self.message(session, GOOD[ending], expect=250)

        @rule(session=sessions, ending=st.sampled_from(sorted(BAD)))
        def bad_data(self, session: Session, ending: str) -> None:
            self.message(session, BAD[ending], expect=550)

        @rule(session=sessions, ending=st.sampled_from(sorted(GOOD)))
        def whole_message(self, session: Session, ending: str) -> None:
            self.rset(session)
            if not session.authenticated:
                self.log_in(session)
            self.mail(session, "news@example.com")
            self.rcpt(session, "a@example.net")
            self.data(session, ending)

        def message(self, session: Session, ending: bytes, *, expect: int) -> None:
            if not self.begin_data(session):
                return
            number = next(NUMBERS)
            self.sent.add(f"machine-{number}.")
            session.client.send(re.sub(rb"(?m)^\.", b"..", (HEADER % number) + ending) + b".\r\n")
            code, text = session.client.getreply()
            assert code == expect, text
            if code == 250:
                queue_id = text.decode().rpartition(" ")[2]
                self.accepted[f"machine-{number}."] = (queue_id, session.mail_from or "", session.rcpt_to)
                session.errors = 0
            else:
                session.errors += 1
            session.forget()

        def begin_data(self, session: Session) -> bool:
            return self.say(
                session, "DATA", expect=503 if session.mail_from is None else 354 if session.rcpt_to else 554
            )  # fmt: skip

        @rule(session=sessions)
        def rset(self, session: Session) -> None:
            if self.say(session, "RSET", expect=250):
                session.forget()

        @rule(session=sessions)
        def noop(self, session: Session) -> None:
            self.say(session, "NOOP", expect=250)

        @rule(session=sessions)
        def nonsense(self, session: Session) -> None:
            self.say(session, "XYZZY", expect=500)

        @rule(session=consumes(sessions))
        def quit(self, session: Session) -> None:
            self.say(session, "QUIT", expect=221)
            self.vanish(session)

        @rule(session=consumes(sessions))
        def vanish(self, session: Session) -> None:
            session.over = True
            session.client.close()

        @rule(session=consumes(sessions))
        def vanish_in_data(self, session: Session) -> None:
            if self.begin_data(session):
                number = next(NUMBERS)
                self.sent.add(f"machine-{number}.")
                session.client.send((HEADER % number) + b"\r\nhalf of")
            self.vanish(session)

        def teardown(self) -> None:
            for session in self.open:
                session.client.close()
            for queue_id, mail_from, rcpt_to in self.accepted.values():
                left = service.captured(queue_id)
                assert left.envelope["mail_from"] == mail_from
                # Postfix sends one copy to an address that was named twice.
                assert Counter(each["address"] for each in left.envelope["rcpt_to"]) == Counter(set(rcpt_to))
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
        settings=settings(max_examples=50, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )
