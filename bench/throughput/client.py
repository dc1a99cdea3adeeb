"""The load: a client that has several sessions at a time with one message in each, as smtp-source(1) has.

smtp-source sends one text again and again. Mail of a template differs from message to message, and what a filter remembers
of one must not be all there is to the next; so here every message is a text of its own, made before the clock starts. In a
session the client says what smtp-source says, and waits for each reply.
"""

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from smtpeter.errors import UserError

SENDER, RECIPIENT = "news@example.com", "reader@example.org"
SESSIONS = 10
SILENCE = 60.0  # seconds without a word from Postfix; the milter's own deadline comes long before


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One transaction, in a session of its own: what the client says, and how each reply must begin."""

    words: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, message: bytes, recipients: Sequence[str] = (RECIPIENT,)) -> "Letter":
        """The transaction of a message whose lines all end with CRLF."""
        envelope = (f"MAIL FROM:<{SENDER}>\r\n", *(f"RCPT TO:<{recipient}>\r\n" for recipient in recipients))
        text = message.replace(b"\n.", b"\n..") + b".\r\n"
        return cls(
            words=(
                (b"HELO client.invalid\r\n", b"2"),
                *((line.encode(), b"2") for line in envelope),
                *((b"DATA\r\n", b"3"), (text, b"2"), (b"QUIT\r\n", b"2")),
            )
        )


class _Session:
    """One connection. `unsent` is what there was no room for yet."""

    __slots__ = ("_expected", "_reply", "_words", "connection", "unsent")

    def __init__(self, port: int, letter: Letter) -> None:
        self.connection = socket.socket()
        self.connection.connect(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.setblocking(False)
        self.unsent = b""
        self._words = iter(letter.words)
        self._expected = b"2"  # the greeting
        self._reply = b""

    def turn(self) -> bool:
        """Goes as far as it can without waiting; whether the session is over. Raises UserError where Postfix refuses."""
        if self.unsent:
            self._send()
            return False
        data = self.connection.recv(4096)
        self._reply += data
        if data and not self._reply.endswith(b"\n"):
            return False
        if not self._reply.startswith(self._expected):
            raise UserError(
                f"Postfix refused a message: {self._reply.decode(errors='replace').strip() or 'the session is closed'}"
            )
        self._reply = b""
        self.unsent, self._expected = next(self._words, (b"", b""))
        if self.unsent:
            self._send()
            return False
        self.connection.close()
        return True

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except BlockingIOError:
            return


def send(port: int, letters: Sequence[Letter]) -> float:
    """Sends all letters, SESSIONS at a time; the seconds until Postfix had accepted the last one.

    Raises UserError where Postfix refuses one.
    """
    start = time.perf_counter()
    waiting = iter(letters)
    sessions: dict[int, _Session] = {}
    with select.epoll() as events:

        def begin(letter: Letter) -> None:
            session = _Session(port, letter)
            sessions[session.connection.fileno()] = session
            events.register(session.connection, select.EPOLLIN)

        try:
            for letter in islice(waiting, SESSIONS):
                begin(letter)
            while sessions:
                ready = events.poll(SILENCE)
                if not ready:
                    raise UserError(f"Postfix said nothing for {SILENCE:.0f} s")
                for descriptor, _ in ready:
                    session = sessions[descriptor]
                    late = bool(session.unsent)
                    if session.turn():
                        del sessions[descriptor]
                        for letter in islice(waiting, 1):
                            begin(letter)
                    elif bool(session.unsent) != late:
                        events.modify(descriptor, select.EPOLLIN if late else select.EPOLLOUT)
        finally:
            for session in sessions.values():
                session.connection.close()
    return time.perf_counter() - start
