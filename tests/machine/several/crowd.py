"""Clients that send until everything was accepted, and a ledger of what each attempt was told.

Every attempt has recipients of its own, so that what arrives, and what the journal has, says by the address alone which attempt
it was of.
"""

import base64
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

ACCEPTED, REFUSED, UNKNOWN = "accepted", "refused", "unknown"
PER_SESSION = 5
PAUSE = 0.25  # seconds before the next try
FROM = "news@example.com"
DOMAIN = "reader.example"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGOoBwAAgQCA05RTSgAAAABJRU5ErkJggg==")

Connect = Callable[[int], smtplib.SMTP]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to send a message. `ended` is when its outcome was known, seconds since 1970."""

    recipients: tuple[str, ...]
    outcome: str
    directory: bool
    ended: float


def picture(number: int) -> bytes:
    """The embedded image of a message, which no other has."""
    return PNG + f"picture {number}".encode()


def has_picture(number: int) -> bool:
    """Whether a message has an embedded image; it then goes to three recipients."""
    return number % 4 == 3


def destination(number: int) -> str:
    """Where the link of a message leads."""
    return f"https://www.example.com/offer/{number}?a=1&b=2"


def number_of(recipient: str) -> int:
    """The number of the message that an address is a recipient of."""
    return int(recipient.removeprefix("m").partition("-")[0])


class Crowd:
    """Threads that send messages from `first` on; those with even numbers are of logins of the directory.

    `connect` makes a session for the number of a thread that is logged in. It ends after `most` messages, or with `stop`.
    Each thread rests for `pace` seconds after a message.
    """

    def __init__(self, connect: Connect, *, threads: int, first: int = 0, most: int = 0, pace: float = 0.0) -> None:
        self.attempts: list[Attempt] = []
        self.told: Counter[str] = Counter()  # what refusals said
        self.begun = time.time()
        self._connect = connect
        self._pace = pace
        self._numbers = count(first)
        self._end = first + most if most else None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(place,), daemon=True) for place in range(threads)]
        for thread in self._threads:
            thread.start()

    def accepted(self, *, directory: bool | None = None) -> int:
        """How many messages were accepted so far."""
        return sum(attempt.outcome == ACCEPTED and directory in (None, attempt.directory) for attempt in tuple(self.attempts))

    @property
    def put_off(self) -> int:
        """How many attempts were refused so far."""
        return self.told.total()

    @property
    def busy(self) -> bool:
        """Whether somebody sends."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Lets each thread bring its message to an end."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Waits until everything was accepted."""
        limit = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
            assert not thread.is_alive(), (
                f"after {seconds:.0f} s {self.accepted()} messages are accepted: {self.told.most_common(9)}"
            )

    def _work(self, place: int) -> None:
        session: smtplib.SMTP | None = None
        used = 0
        while not self._stopping.is_set():
            with self._lock:
                number = next(self._numbers)
            if self._end is not None and number >= self._end:
                break
            for trial in count():
                if session is None or used == PER_SESSION:
                    _leave(session)
                    session, used = self._session(place), 0
                used += 1
                if self._try(session, place, number, trial):
                    break
                session = None
                time.sleep(PAUSE)
            self._stopping.wait(self._pace)
        _leave(session)

    def _session(self, place: int) -> smtplib.SMTP:
        while True:
            try:
                return self._connect(place)
            except (smtplib.SMTPException, OSError) as error:
                self._tell("connect", error)
                time.sleep(PAUSE)

    def _try(self, session: smtplib.SMTP, place: int, number: int, trial: int) -> bool:
        """One attempt; whether it was accepted."""
        people = 3 if has_picture(number) else 1
        recipients = tuple(f"m{number}-{trial}-{person}@{DOMAIN}" for person in range(people))
        handed_over = False
        try:
            _ok(session.docmd(f"MAIL FROM:<{FROM}>"))
            for recipient in recipients:
                _ok(session.docmd(f"RCPT TO:<{recipient}>"))
            _ok(session.docmd("DATA"), 354)
            handed_over = True
            session.send(_message(number))
            _ok(session.getreply())
        except (smtplib.SMTPException, OSError) as error:
            cut = not isinstance(error, smtplib.SMTPResponseException) or error.smtp_code < 0
            outcome = UNKNOWN if handed_over and cut else REFUSED
            self._tell("data" if handed_over else "envelope", error)
            session.close()
        else:
            outcome = ACCEPTED
        attempt = Attempt(recipients=recipients, outcome=outcome, directory=place % 2 == 0, ended=time.time())
        self.attempts.append(attempt)
        return outcome == ACCEPTED

    def _tell(self, where: str, error: Exception) -> None:
        said = f"{error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else type(error).__name__
        with self._lock:
            self.told[f"{where} {said}"] += 1


def _message(number: int) -> bytes:
    """With a link, and every fourth with an embedded image; ends with the dot."""
    head = f"From: News <{FROM}>\r\nTo: readers <list@{DOMAIN}>\r\nSubject: message {number}\r\nMIME-Version: 1.0\r\n"
    link = destination(number).replace("&", "&amp;")
    text = f'<html><body><p><a href="{link}">offer</a></p>'
    kind = "Content-Type: text/html; charset=utf-8\r\n\r\n"
    if not has_picture(number):
        return f"{head}{kind}{text}</body></html>\r\n.\r\n".encode()
    shown = base64.encodebytes(picture(number)).decode().replace("\n", "\r\n")
    return (
        f'{head}Content-Type: multipart/related; boundary="related"\r\n\r\n--related\r\n{kind}{text}'
        '<img src="cid:logo@example.com">'
        "</body></html>\r\n--related\r\nContent-Type: image/png\r\nContent-ID: <logo@example.com>\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{shown}--related--\r\n.\r\n"
    ).encode()


def _ok(reply: tuple[int, bytes], wanted: int = 250) -> None:
    if reply[0] != wanted:
        raise smtplib.SMTPResponseException(*reply)


def _leave(session: smtplib.SMTP | None) -> None:
    if session is not None:
        with suppress(smtplib.SMTPException, OSError):
            session.quit()
        session.close()
