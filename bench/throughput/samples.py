"""What the set-ups are fed with, and the proof that each of them did its work: one message of each is looked at."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import dkim
from aiosmtpd.controller import Controller

from bench import newsletter
from bench.throughput.milters import DOMAIN, SELECTOR, Key
from journal.links import read, read_pixel
from journal.seal import Ring
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


def check(name: str, sent: bytes, received: bytes, key: Key, *, signs: bool, inlines: bool, ring: Ring | None) -> None:
    """Raises UserError where a set-up did not do what it is measured for, or did more. `ring`: it tracks, with these keys."""

    def record(record_name: bytes, timeout: int = 5) -> bytes | None:
        return key.record if record_name.decode() == f"{SELECTOR}._domainkey.{DOMAIN}." else None

    if signs and not dkim.verify(received, dnsfunc=record):
        raise UserError(f"the sample of {name!r} carries no signature that verifies")
    if signs and b"a=rsa-sha256" not in received:
        raise UserError(f"the sample of {name!r} is not signed with RSA")
    before, after = (_html(message).count("style=") for message in (sent, received))
    pixel = 1 if ring else 0  # it has a style attribute of its own
    if not (after > before + pixel if inlines else after == before + pixel):
        raise UserError(f"the sample of {name!r} had {before} style attributes and has {after}")
    if ring:
        recipient(name, sent, received, ring)
    elif _urls(sent) != _urls(received):
        raise UserError(f"the sample of {name!r} has other links than were sent")


def recipient(name: str, sent: bytes, received: bytes, ring: Ring) -> bytes:
    """The recipient's identifier, where each link and image of `received` leads by way of the tracking host to where it led.

    Raises UserError where one does not, or where there is not exactly one invisible image.
    """
    before, after = (_urls(message) for message in (sent, received))
    visits = [read(ring, parts.path.encode(), parts.query.encode()) for parts in map(urlsplit, after)]
    pixels = [read_pixel(ring, urlsplit(url).path.encode()) for url in after]
    found = [visit for pair in zip(visits, pixels, strict=True) for visit in pair if visit]
    if len(found) != len(after) or not before or len({visit.recipient for visit in found}) != 1:
        raise UserError(f"the sample of {name!r} has {len(after)} links and images, and {len(found)} are of one recipient")
    if [visit.destination for visit in visits if visit] != before or sum(map(bool, pixels)) != 1:
        raise UserError(f"the links of the sample of {name!r} do not lead where they led, or its invisible image is not there")
    return found[0].recipient


class _Urls(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"a": "href", "img": "src"}.get(tag)
        self.found += [value or "" for name, value in attrs if name == wanted]


def _urls(message: bytes) -> list[str]:
    parser = _Urls()
    parser.feed(_html(message))
    parser.close()
    return parser.found


def _html(message: bytes) -> str:
    (part,) = (part for part in message_from_bytes(message).walk() if part.get_content_type() == "text/html")
    return bytes(part.get_payload(decode=True)).decode()
