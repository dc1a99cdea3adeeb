"""A tracking host on loopback, in a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest
import uvloop

from journal.images import ImageStore
from journal.records import Record, VisitRecord, decode
from journal.seal import Ring, SealingKey
from journal.segment import SUFFIX, read_segment
from journal.spool import Writer
from web.addresses import Addresses
from web.disabled import DisabledLinks
from web.elsewhere import Elsewhere
from web.server import Limits, serve
from web.tracking import Tracking
from web.visits import Spool, Visits

PATIENCE = 10.0  # seconds until something that must happen is late


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back: the status, the fields with names in lower case, the content."""

    status: int
    fields: dict[str, str]
    content: bytes


@dataclass(slots=True, kw_only=True)
class Host:
    """A running tracking host."""

    port: int
    ring: Ring
    spool: Path
    images: ImageStore
    visits: list[Visits] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def raw(self, octets: bytes) -> bytes:
        """What is answered to `octets`, until the connection ends."""
        found = []
        with self.connect() as connection, suppress(ConnectionError):  # it does not wait for what it refuses
            with suppress(ConnectionError):
                connection.sendall(octets)
            while piece := connection.recv(65_536):
                found.append(piece)
        return b"".join(found)

    def ask(self, target: str | bytes, *fields: str, method: str = "GET") -> Reply:
        """One request on a connection of its own, with the target exactly as it is given."""
        target = target.encode("latin-1") if isinstance(target, str) else target
        lines = "".join(f"{line}\r\n" for line in ("Host: clicks.example.com", *fields, "Connection: close"))
        answer = self.raw(b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), target, lines.encode("latin-1")))
        head, _, content = answer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        return Reply(
            status=int(first.split()[1]),
            fields={name.lower(): value for name, _, value in (line.partition(": ") for line in rest)},
            content=content,
        )

    def records(self, count: int) -> list[VisitRecord]:
        """What is in the spool when all that was answered is written down: `count` records."""
        wait_for(lambda: len(self._spooled()) >= count and not len(self.visits[0]))
        found = self._spooled()
        assert len(found) == count, found
        return [record for record in found if isinstance(record, VisitRecord)]

    def _spooled(self) -> list[Record]:
        paths = sorted(self.spool.glob(f"*{SUFFIX}"))
        return [decode(line) for path in paths for _, line in read_segment(path, 0).lines]


def wait_for(condition: Callable[[], object]) -> None:
    """Returns as soon as the condition holds; fails when that takes too long."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "this took too long"
        time.sleep(0.005)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits for a condition, with a limit."""
    return wait_for


@pytest.fixture
def ring() -> Ring:
    return Ring([SealingKey(id=7, secret=bytes(range(64)), created=1, active=1)], now=2)


@pytest.fixture
def run_host(tmp_path: Path, ring: Ring) -> Iterator[Callable[..., Host]]:
    """Starts tracking hosts; each ends with the test."""
    with ExitStack() as running:

        def start(
            *,
            proxies: tuple[str, ...] = (),
            shorten: bool = True,
            limits: Limits | None = None,
            listener: socket.socket | None = None,
            certificates: Container[str] = (),
            spool: Callable[[Path], Spool] = lambda folder: Writer(folder, "web"),
            elsewhere: Callable[[], Elsewhere | None] = lambda: None,
        ) -> Host:
            folder = tmp_path / "spool"
            folder.mkdir(exist_ok=True)
            listener = listener or socket.create_server(("127.0.0.1", 0))
            port = 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
            host = Host(port=port, ring=ring, spool=folder, images=ImageStore(tmp_path / "images"))
            ready, loops, stops = threading.Event(), [], []

            async def main() -> None:
                stop = asyncio.Event()
                loops.append(asyncio.get_running_loop())
                stops.append(stop)
                visits = Visits(spool(folder))
                host.visits.append(visits)
                disabled = DisabledLinks(lambda: host.blocked, tmp_path / "disabled.json", interval=0.05)
                following = asyncio.create_task(disabled.follow())
                app = Tracking(
                    ring=lambda: ring,
                    record=visits.add,
                    disabled=disabled,
                    images=host.images,
                    addresses=Addresses(map(ip_network, proxies), shorten=shorten),
                    certificates=certificates,
                    elsewhere=(others := elsewhere()),
                )
                ready.set()
                await serve(app, listener, stop, limits or Limits())
                following.cancel()
                await visits.close()
                if others is not None:
                    others.close()

            thread = threading.Thread(target=lambda: uvloop.run(main()))
            thread.start()

            def end() -> None:
                loops[0].call_soon_threadsafe(stops[0].set)
                thread.join(PATIENCE)
                assert not thread.is_alive()

            assert ready.wait(PATIENCE)
            running.callback(end)
            return host

        yield start


@pytest.fixture
def host(run_host: Callable[..., Host]) -> Host:
    """A tracking host with the usual settings."""
    return run_host()
