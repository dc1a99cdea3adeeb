"""uvicorn on a socket that listens already: uvloop's event loop, httptools' parser, our limits, no log of its own."""

import asyncio
import logging
import resource
import socket
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

import uvicorn

from policy.overseer import Overseer
from web.connection import Connection, Prompt

SWEEP_SECONDS = 1.0
SPARE_FILES = 64  # descriptors for all that is no connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`idle` and `finish` are seconds: how long a connection may stay without a request, and how long the end may take."""

    idle: int = 75  # longer than the web server in front keeps one, or it meets closed ones
    finish: int = 5
    connections: int = 20_000  # at once; fewer where the system allows fewer open files
    backlog: int = 2048


async def serve(
    app: Prompt, listener: socket.socket, stop: asyncio.Event, limits: Limits = Limits(), overseer: Overseer | None = None
) -> None:
    """Serves `app` until `stop` is set, then answers what is in hand and returns. The socket is closed at the end.

    `overseer` is told how it goes.
    """
    # Its warnings are about requests that it refuses: a stranger could fill the log with them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # web.addresses reads them, for those who may say so
        backlog=limits.backlog,
        limit_concurrency=min(limits.connections, _open_files() - SPARE_FILES),
        timeout_keep_alive=limits.idle,
        timeout_graceful_shutdown=limits.finish,
    )
    overseer = overseer or Overseer()
    server = _Server(config, overseer)
    tasks = (_sweep(server), _end(server, stop), _tell(stop, overseer))
    helpers = [asyncio.create_task(task) for task in tasks]
    try:
        await server.serve([listener])
    finally:
        for helper in helpers:
            helper.cancel()
            with suppress(asyncio.CancelledError):
                await helper


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs the process, who has more to end than this."""

    def __init__(self, config: uvicorn.Config, overseer: Overseer) -> None:
        super().__init__(config)
        self._overseer = overseer

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._overseer.ready()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # theirs is a generator
        return nullcontext()


async def _sweep(server: uvicorn.Server) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = loop.time()
        for connection in list(server.server_state.connections):
            if isinstance(connection, Connection):
                connection.expire(now)


async def _tell(stop: asyncio.Event, overseer: Overseer) -> None:
    while not stop.is_set():
        overseer.alive()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SWEEP_SECONDS)
    overseer.stopping()


async def _end(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


def _open_files() -> int:
    """How many files this process may have open, after raising that as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
