"""The connection between Postfix and the filter cut at any octet: put off with nothing sent, or delivered whole."""

import re
import smtplib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import dkim
import pytest

pytestmark = pytest.mark.system

TO_FILTER, TO_POSTFIX = "to the filter", "to Postfix"
PARAGRAPHS = b"<p>hello</p>\r\n" * 4000
MESSAGE = (
    b"X-SMTPeter-InlineCSS: yes\r\nFrom: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: %b\r\n"
    b"X-SMTPeter-Tags: one\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\nx-smtpeter-other: 1\r\n\r\n"
    b"<style>p{color:red}</style>\r\n" + PARAGRAPHS
)


@dataclass
class Cut:
    """Where the next connection ends: after so many octets in that direction."""

    direction: str
    octets: int


@dataclass
class Relay:
    """Stands at the filter's socket and passes everything on, until it does not."""

    path: Path
    behind: Path
    cut: Cut | None = None
    streams: dict[str, bytearray] = field(default_factory=dict)

    def serve(self) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            self.path.chmod(0o666)
            listener.listen(64)
            while True:
                postfix, _ = listener.accept()
                self.streams = {TO_FILTER: bytearray(), TO_POSTFIX: bytearray()}
                threading.Thread(target=self.connection, args=(postfix, self.streams, self.cut), daemon=True).start()

    def connection(self, postfix: socket.socket, streams: dict[str, bytearray], cut: Cut | None) -> None:
        left = {cut.direction: cut.octets} if cut else {}
        with postfix, socket.socket(socket.AF_UNIX) as to_filter:
            to_filter.connect(str(self.behind))
            ways = ((TO_FILTER, postfix, to_filter), (TO_POSTFIX, to_filter, postfix))
            pumps = [threading.Thread(target=pump, args=(*ends, streams[way], left.get(way)), daemon=True) for way, *ends in ways]
            for each in pumps:
                each.start()
            for each in pumps:
                each.join()


def pump(source: socket.socket, target: socket.socket, seen: bytearray, left: int | None) -> None:
    """Passes on what comes until there is no more, or until `left` octets are through; then ends both directions."""
    with suppress(OSError):
        while left != 0 and (data := source.recv(65536 if left is None else min(left, 65536))):
            target.sendall(data)
            seen += data
            left = None if left is None else left - len(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Packet:
    """One packet of the milter protocol: a length of four octets, a letter, and what belongs to it."""

    letter: bytes
    start: int
    end: int


def packets(stream: bytes) -> Iterator[Packet]:
    position = 0
    while position + 5 <= len(stream):
        end = position + 4 + int.from_bytes(stream[position : position + 4])
        yield Packet(stream[position + 4 : position + 5], position, end)
        position = end


@pytest.fixture(scope="module")
def filtered(make_service):
    """A service of its own, its relay, and a login."""
    service = make_service()
    service.run("account", "add", "shop", "--approve")
    service.domain("example.com")
    path = service.data / "run" / "milter"
    behind = path.rename(path.with_name("behind"))
    relay = Relay(path, behind)
    threading.Thread(target=relay.serve, daemon=True).start()
    return service, relay, service.login()


def attempt(service, login, transaction, mark: str) -> str | int:
    """The queue id of a message, or the code it was refused with; a lost connection counts as "try again"."""
    try:
        with service.client(login) as client:
            return transaction(client, MESSAGE % mark.encode())
    except smtplib.SMTPResponseException as refusal:
        return refusal.smtp_code
    except (smtplib.SMTPException, OSError):
        return 400


def places(seen: list[Packet], coarse: int, *, fine: bytes = b"") -> list[int]:
    """Octets to cut after: around the ends of packets, and inside them every so often; all of those with `fine` letters."""
    found = set()
    for packet in seen:
        inside = range(packet.start, packet.end, 1 if packet.letter in fine and packet.end - packet.start < 60 else coarse)
        found |= {*inside, packet.start + 1, packet.start + 4, packet.start + 5, packet.end - 1, packet.end}
    return sorted(found)


def test_a_cut_anywhere_delivers_all_or_nothing(filtered, transaction, wait) -> None:
    service, relay, login = filtered
    whole = service.captured(attempt(service, login, transaction, "whole"))
    assert whole.body.count(b' style="color') == 4000
    sent, answered = (list(packets(bytes(relay.streams[direction]))) for direction in (TO_FILTER, TO_POSTFIX))
    letters = b"".join(packet.letter for packet in answered)
    # At the end of the message: fields changed, one inserted, the body replaced in pieces, go on.
    assert re.search(rb"m{3}i+b{2,}c\Z", letters), letters
    end_of_message = len(letters) - len(re.search(rb"m+i+b+c\Z", letters)[0])
    cuts = [Cut(TO_FILTER, place) for place in places(sent, 20_000)[:: max(1, len(places(sent, 20_000)) // 60)]]
    cuts += [Cut(TO_POSTFIX, place) for place in places(answered[:end_of_message], 1000)[::4]]
    cuts += [Cut(TO_POSTFIX, place) for place in places(answered[end_of_message:], 25_000, fine=b"m")]

    accepted, codes = {}, {}
    for cut in cuts:
        relay.cut = cut
        mark = f"{cut.direction} {cut.octets}"
        result = attempt(service, login, transaction, mark)
        (accepted if isinstance(result, str) else codes)[mark] = result
    relay.cut = None

    assert {code // 100 for code in codes.values()} == {4}
    assert len(codes) > len(cuts) / 2
    assert accepted  # those cut behind the last octet that matters
    last = service.captured(attempt(service, login, transaction, "after"))
    wait(lambda: queue_is_empty(service), "an empty queue")
    assert len(list(service.outbox.glob("*.eml"))) == len(accepted) + 2
    records = {f"{record}.".encode(): value.encode() for record, value in service.records.items()}
    for left in [last, *map(service.captured, accepted.values())]:
        assert left.body == whole.body
        assert b"x-smtpeter" not in left.header.lower()
        assert dkim.verify(left.raw, dnsfunc=lambda record, timeout=5: records.get(record))


def queue_is_empty(service) -> bool:
    listing = ("postqueue", "-c", str(service.data / "postfix" / "etc"), "-j")
    return not subprocess.run(listing, capture_output=True, check=True).stdout
