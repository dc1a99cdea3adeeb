"""The two servers of bench.redirect, each in a process of its own on the first processor."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from journal.images import ImageStore
from journal.links import tracked
from journal.seal import KEY_LENGTH, Ring, SealingKey
from journal.spool import Writer
from web.addresses import Addresses
from web.disabled import DisabledLinks
from web.server import serve
from web.tracking import Tracking
from web.visits import Visits

RING = Ring([SealingKey(id=1, secret=bytes(range(KEY_LENGTH)), created=1, active=1)], now=2)
LINKS = [
    tracked(
        RING,
        number.to_bytes(9, "big"),
        number % 40 + 1,
        f"https://www.example.com/shop/item-{number}?utm_source=mail&id={number}",
        "",
    )
    for number in range(1000)
]


async def only_302(scope: Any, receive: Any, send: Any) -> None:
    """The least that an application can do."""
    fields = [(b"location", b"https://www.example.com/"), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 302, "headers": fields})
    await send({"type": "http.response.body", "body": b""})


def run_peer(listener: socket.socket) -> None:
    """uvicorn with uvloop and httptools, nothing of ours."""
    config = uvicorn.Config(
        only_302, loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


async def run_ours(listener: socket.socket, folder: Path) -> None:
    """The tracking host as `smtpeter web` builds it."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    visits = Visits(Writer(folder, "web"))
    app = Tracking(
        ring=lambda: RING,
        record=visits.add,
        disabled=DisabledLinks(list, folder / "disabled.json"),
        images=ImageStore(folder / "images"),
        addresses=Addresses([ip_network("127.0.0.0/8")], shorten=True),
    )
    await serve(app, listener, stop)
    await visits.close()


@contextlib.contextmanager
def server(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """A server on the first processor: its port and process id. It has ended, and written all, when this returns."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        port = listener.getsockname()[1]
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.sched_setaffinity(0, {0})
                run_peer(listener) if name == "peer" else uvloop.run(run_ours(listener, folder))
                status = 0
            finally:
                os._exit(status)
    try:
        yield port, pid
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
