"""Clients that keep sending while something happens to the machines, and remember what they were promised."""

import smtplib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from itertools import count

from .sink import Sink

_PAUSE = 0.2  # seconds before a refused message is tried again

Connect = Callable[[], smtplib.SMTP]


class Flow:
    """Threads that send one message after the other, each in a session of its own, until `stop`.

    A message is tried again after 4xx and after a connection that broke before the end of its data. Where it broke after
    that, nobody knows whether it was taken (RFC 5321 section 4.1.1.4): it is forgotten, and the next one has another number.
    """

    def __init__(
        self, connect: Connect, *, mail_from: str, field: str = "X-Number", clients: int = 2, most: int = 0, gap: float = 0.0
    ) -> None:
        """`connect` makes a session that is logged in. Ends by itself after `most` messages where that is not 0.

        Each client waits `gap` seconds between two messages.
        """
        self.accepted: set[str] = set()
        self.unknown: set[str] = set()
        self.refused: list[str] = []  # replies of 5xx: none is expected
        self.put_off = 0
        self._connect, self._mail_from, self._field, self._most = connect, mail_from, field, most
        self._gap = gap
        self._numbers, self._lock, self._ending = count(1), threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._send_all, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 60) -> None:
        """Lets each thread finish the message it is at."""
        self._ending.set()
        self.join(seconds)

    def join(self, seconds: float) -> None:
        """Waits until `most` messages were accepted or `stop` was called."""
        limit = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
            assert not thread.is_alive(), f"clients still send: {len(self.accepted)} accepted, {self.put_off} put off"

    def arrived(self, sink: Sink) -> Counter[str]:
        """How often each number was delivered."""
        mark = f"{self._field}: ".encode()
        lines = (line for message in tuple(sink.delivered) for line in message.header.splitlines() if line.startswith(mark))
        return Counter(line.removeprefix(mark).decode() for line in lines)

    def _send_all(self) -> None:
        while not self._ending.is_set():
            with self._lock:
                number = str(next(self._numbers))
            if self._most and int(number) > self._most:
                return
            while not self._sent(number):
                time.sleep(_PAUSE)
                if self._ending.is_set():
                    return
            self._ending.wait(self._gap)

    def _sent(self, number: str) -> bool:
        """Whether the message needs no further attempt."""
        handed_over = False
        try:
            client = self._connect()
            try:
                self._ok(client.mail(self._mail_from))
                self._ok(client.docmd("RCPT", "TO:<reader@example.net>"))
                self._ok(client.docmd("DATA"), 354)
                handed_over = True
                client.send(self._message(number))
                self._ok(client.getreply())
                with suppress(smtplib.SMTPException, OSError):
                    client.quit()
            finally:
                client.close()
        except smtplib.SMTPResponseException as error:
            if error.smtp_code < 0:  # smtplib's word for a reply that was cut off
                return self._broken(number, handed_over=handed_over)
            # 421 in place of an answer to the data is an answer: the message was not taken.
            if error.smtp_code >= 500:
                self.refused.append(f"{error.smtp_code} {error.smtp_error!r}")
                return True
            self.put_off += 1
            return False
        except (smtplib.SMTPException, ssl.SSLError, OSError):
            return self._broken(number, handed_over=handed_over)
        self.accepted.add(number)
        return True

    def _broken(self, number: str, *, handed_over: bool) -> bool:
        if handed_over:
            self.unknown.add(number)
        else:
            self.put_off += 1
        return handed_over

    def _message(self, number: str) -> bytes:
        message = EmailMessage(policy=WIRE)
        message["From"], message["To"], message["Subject"] = self._mail_from, "reader@example.net", f"number {number}"
        message[self._field] = number
        message.set_content(f'<p><a href="https://www.example.com/{number}">number {number}</a></p>\n', subtype="html")
        return message.as_bytes() + b".\r\n"

    @staticmethod
    def _ok(reply: tuple[int, bytes], wanted: int = 250) -> None:
        if reply[0] != wanted:
            raise smtplib.SMTPResponseException(*reply)
