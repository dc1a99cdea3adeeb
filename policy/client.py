"""One client of a unix socket: who may connect, how long half a request may take, and how a connection ends.

The protocols themselves are pure (policy.wire); this is their common life on an event loop.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Coroutine
from typing import Any, cast

from policy.log_line import shown

CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


class Clients:
    """The connections of one socket. Only processes of the users in `peers` are served.

    A request that has begun must be complete `partial_within` seconds later: Postfix writes each one at once.
    """

    def __init__(self, peers: frozenset[int], partial_within: float, log: logging.Logger) -> None:
        self.peers, self.partial_within, self.log = peers, partial_within, log
        self._connected: dict[Client, asyncio.Future[None]] = {}

    def add(self, client: "Client") -> None:
        """A client has connected."""
        self._connected[client] = asyncio.get_running_loop().create_future()

    def remove(self, client: "Client") -> None:
        """A client has gone."""
        gone = self._connected.pop(client, None)
        if gone is not None:
            gone.set_result(None)

    async def finish(self, within: float) -> None:
        """Ends every connection once the requests in hand are answered; after `within` seconds regardless."""
        waiting = list(self._connected.values())
        for client in list(self._connected):
            client.finish()
        if waiting:
            await asyncio.wait(waiting, timeout=within)
        for client in list(self._connected):
            client.abort()


class Client(asyncio.Protocol):
    """One connection. A subclass answers `greet`, `received` and `partial_since`, and starts work with `begin`."""

    def __init__(self, clients: Clients) -> None:
        self.log = clients.log
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._finishing = False

    def greet(self) -> None:
        """Called once the client is admitted."""

    def received(self, data: bytes, now: float) -> None:
        """Called with what has arrived, at the loop's time `now`."""
        raise NotImplementedError

    @property
    def partial_since(self) -> float | None:
        """When the request that is still incomplete began, None where there is none."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Sends, unless the connection is over."""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` while the connection lasts; what it raises is logged and closes the connection."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def close(self, reason: str) -> None:
        """Ends the connection after what was sent, with a line in the log; further work is dropped."""
        self.log.warning("closed reason=%s", shown(reason))
        self._end()

    def finish(self) -> None:
        """Reads no more and ends once the work in hand is done."""
        self._finishing = True
        self._transport.pause_reading()
        if not self._tasks:
            self._end()

    def abort(self) -> None:
        """Ends the connection now."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admits the peer by its user (SO_PEERCRED, which the kernel vouches for)."""
        self._transport = cast(asyncio.Transport, transport)
        peer: socket.socket = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, uid, _ = CREDENTIALS.unpack(raw)
        if uid not in self._clients.peers:
            self.log.warning("closed reason=peer uid=%d pid=%d", uid, pid)
            self.abort()
            return
        self._clients.add(self)
        self.greet()

    def data_received(self, data: bytes) -> None:
        """Hands data on and sees to it that half a request does not stay for ever."""
        if self._transport.is_closing():
            return
        self.received(data, self._loop.time())
        if self._watch is None and self.partial_since is not None:
            self._watch = self._loop.call_later(self._clients.partial_within, self._check_partial)

    def connection_lost(self, _: Exception | None) -> None:
        """Drops the work for a client that has gone."""
        self._clients.remove(self)
        if self._watch is not None:
            self._watch.cancel()
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        """A client that does not read its answers is not read either."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        if not self._finishing:
            self._transport.resume_reading()

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._transport.close()

    def _check_partial(self) -> None:
        self._watch = None
        since = self.partial_since
        if since is None or self._transport.is_closing():
            return
        left = since + self._clients.partial_within - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check_partial)
        else:
            self.close("timeout")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("closed reason=fault", exc_info=error)
            self._end()
        elif self._finishing and not self._tasks:
            self._end()
