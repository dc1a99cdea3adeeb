"""`smtpeter web`: the tracking host; `smtpeter up` or a service manager starts it."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import typer
import uvloop

from journal.images import ImageStore
from journal.ring_file import RingFile
from journal.rings import Rings
from journal.shared_images import SharedImages
from journal.spool import Writer
from journal.store import JournalStore
from policy import counting
from policy.overseer import Overseer
from policy.stores.engine import database_file
from smtpeter import activation, wiring
from smtpeter.cli import settings_of
from smtpeter.notify import Notifier
from smtpeter.ports import open_listener
from smtpeter.process import start_log
from smtpeter.same_ring import SameRing
from smtpeter.settings import Settings
from web import server
from web.addresses import Addresses
from web.ask import CertificateHosts
from web.disabled import DisabledLinks
from web.elsewhere import Elsewhere
from web.tracking import Tracking
from web.visits import Visits

SOCKET = "web"
RING_SECONDS = 0.2  # between two looks at the key ring's file


def web(context: typer.Context) -> None:
    """Serve tracked links and pictures, on the socket that is inherited (sd_listen_fds(3)), else on the one of the settings."""
    start_log()
    settings = settings_of(context)
    ring = wiring.ring_file(settings, interval=RING_SECONDS)
    listener = activation.inherited().get(SOCKET)
    if listener is None:
        listener = open_listener(settings.web.address, settings.web.port, "choose another as web.port in the settings")
    counting.begin("web")
    uvloop.run(serve(settings, ring, listener, Notifier.inherited()))


async def serve(settings: Settings, ring: RingFile, listener: socket.socket, overseer: Overseer) -> None:
    """Serves until SIGTERM or SIGINT; then every visit is on disk."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = JournalStore(settings.journal_url)
    disabled = DisabledLinks(lambda: [link.destination for link in store.disabled_links()], settings.disabled_links_file)
    visits = Visits(Writer(settings.spool, "web"))
    following = [asyncio.create_task(disabled.follow())]
    several = database_file(settings.journal_url) is None  # hosts may share it
    if several:
        rings = SameRing(Rings(settings.journal_url), settings.hostname, ring.current)
        following.append(asyncio.create_task(rings.follow()))
    with _elsewhere(settings) if several else nullcontext() as elsewhere:
        app = Tracking(
            ring=ring.current,
            record=visits.add,
            disabled=disabled,
            images=ImageStore(settings.images),
            addresses=Addresses(settings.web.proxies, shorten=settings.journal.truncate_ip),
            elsewhere=elsewhere,
            certificates=CertificateHosts(settings.click_hosts_file),
        )
        try:
            await server.serve(app, listener, stop, overseer=overseer)
        finally:
            for task in following:
                task.cancel()
            await visits.close()
            store.close()


@contextmanager
def _elsewhere(settings: Settings) -> Iterator[Elsewhere]:
    settings.fetched.parent.mkdir(mode=0o750, exist_ok=True)
    shared = SharedImages(settings.journal_url)
    elsewhere = Elsewhere(shared, ImageStore(settings.fetched))
    try:
        yield elsewhere
    finally:
        elsewhere.close()
        shared.close()
