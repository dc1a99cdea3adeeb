"""`smtpeter web`: the tracking host; `smtpeter up` or a service manager starts it."""

import asyncio
import signal
import socket

import typer
import uvloop

from journal.images import ImageStore
from journal.ring_file import RingFile
from journal.spool import Writer
from journal.store import JournalStore
from smtpeter import activation, wiring
from smtpeter.cli import settings_of
from smtpeter.ports import open_listener
from smtpeter.process import start_log
from smtpeter.settings import Settings
from web import server
from web.addresses import Addresses
from web.disabled import DisabledLinks
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
    uvloop.run(serve(settings, ring, listener))


async def serve(settings: Settings, ring: RingFile, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT; then every visit is on disk."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = JournalStore(settings.journal_url)
    disabled = DisabledLinks(lambda: [link.destination for link in store.disabled_links()], settings.data / "disabled-links.json")
    visits = Visits(Writer(settings.spool, "web"))
    app = Tracking(
        ring=ring.current,
        record=visits.add,
        disabled=disabled,
        images=ImageStore(settings.images),
        addresses=Addresses(settings.web.proxies, shorten=settings.journal.truncate_ip),
    )
    following = asyncio.create_task(disabled.follow())
    try:
        await server.serve(app, listener, stop)
    finally:
        following.cancel()
        await visits.close()
        store.close()
