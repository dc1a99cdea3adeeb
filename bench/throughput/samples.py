"""What the set-ups are fed with, and the proof that each of them did its work: one message of each is looked at."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any

import dkim
from aiosmtpd.controller import Controller

from bench import newsletter
from bench.throughput.milters import DOMAIN, SELECTOR, Key
from smtpeter.errors import UserError

SIZES = (3_600, 31_000, 79_000)


def sample(octets: int) -> bytes:
    """A newsletter that is a message of about `octets` octets, all of it counted."""
    html = octets
    for _ in range(8):
        html += octets - len(newsletter.message(html))
    return newsletter.message(html)


class Sink:
    """Takes what Postfix sends and hands it over."""

    def __init__(self) -> None:
        self._received: queue.Queue[bytes] = queue.Queue()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Called by aiosmtpd."""
        self._received.put(envelope.original_content)
        return "250 2.0.0 Ok"

    def take(self, seconds: float = 30.0) -> bytes:
        """The next message. Raises UserError where none comes."""
        try:
            return self._received.get(timeout=seconds)
        except queue.Empty:
            raise UserError("a sample message did not arrive at the sink") from None


@contextmanager
def sink(port: int) -> Iterator[Sink]:
    """A sink on a port of loopback."""
    receiver = Sink()
    controller = Controller(receiver, hostname="127.0.0.1", port=port, data_size_limit=None)
    controller.start()
    try:
        yield receiver
    finally:
        controller.stop()


def check(name: str, sent: bytes, received: bytes, key: Key, *, signs: bool, inlines: bool) -> None:
    """Raises UserError where a set-up did not do what it is measured for."""

    def record(record_name: bytes, timeout: int = 5) -> bytes | None:
        return key.record if record_name.decode() == f"{SELECTOR}._domainkey.{DOMAIN}." else None

    if signs and not dkim.verify(received, dnsfunc=record):
        raise UserError(f"the sample of {name!r} carries no signature that verifies")
    if signs and b"a=rsa-sha256" not in received:
        raise UserError(f"the sample of {name!r} is not signed with RSA")
    before, after = _styles(sent), _styles(received)
    if inlines != (after > before):
        raise UserError(f"the sample of {name!r} had {before} style attributes and has {after}")


def _styles(message: bytes) -> int:
    parts = (part for part in message_from_bytes(message).walk() if part.get_content_type() == "text/html")
    return sum(bytes(part.get_payload(decode=True)).count(b"style=") for part in parts)
