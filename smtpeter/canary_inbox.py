"""Where canaries come back to: an LMTP server (RFC 2033) on a unix socket, for as long as somebody waits for one."""

import asyncio
import logging
import os
import pwd
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from policy.client import CREDENTIALS
from smtpeter import activation
from smtpeter.process import MAIL_USER

LARGEST = 1 << 20  # octets of a message

_log = logging.getLogger("smtpeter.canary")


class Inbox:
    """Takes every message, and keeps those that somebody waits for. What was left behind by an earlier run is gone with that."""

    def __init__(self) -> None:
        self._kept: dict[str, list[bytes]] = {}
        self._news = threading.Condition()

    def expect(self, token: str) -> None:
        """Messages with this token are kept from now on."""
        with self._news:
            self._kept[token] = []

    def arrived(self, token: str) -> list[bytes]:
        """What has come with this token so far."""
        with self._news:
            return list(self._kept[token])

    def wait(self, token: str, until: float) -> bytes | None:
        """The first message with this token; None where there is none until that moment of the monotonic clock."""
        with self._news:
            self._news.wait_for(lambda: self._kept[token], max(0.0, until - time.monotonic()))
            return next(iter(self._kept[token]), None)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """What aiosmtpd calls with a message. Postfix gives each recipient one of its own (main.cf)."""
        content = envelope.original_content or b""
        with self._news:
            for token, kept in self._kept.items():
                if token.encode() in content:
                    kept.append(content)
            self._news.notify_all()
        return "250 2.0.0 Ok"


class Door(LMTP):
    """aiosmtpd, for those processes alone that may bring mail."""

    def __init__(self, inbox: Inbox, peers: frozenset[int], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(inbox, hostname="canary.invalid", data_size_limit=LARGEST, enable_SMTPUTF8=True, loop=loop)
        self._peers = peers

    def connection_made(self, transport: Any) -> None:
        """Admits the peer by its user, which the kernel vouches for."""
        peer: socket.socket = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, uid, _ = CREDENTIALS.unpack(raw)
        if uid not in self._peers:
            _log.warning("closed reason=peer uid=%d pid=%d", uid, pid)
            transport.abort()
            return
        super().connection_made(transport)


@contextmanager
def listening(path: Path, group: str | None) -> Iterator[Inbox]:
    """An inbox at that socket, which is gone afterwards. To be entered before there are threads. Raises UserError."""
    peers = {os.geteuid(), 0}
    with suppress(KeyError):
        peers.add(pwd.getpwnam(MAIL_USER).pw_uid)
    listener, inbox = activation.listen(path, group=group), Inbox()
    started: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(listener, inbox, frozenset(peers), started)), name="inbox")
    thread.start()
    stop = started.result()
    try:
        yield inbox
    finally:
        stop()
        thread.join()
        path.unlink(missing_ok=True)


async def _serve(listener: socket.socket, inbox: Inbox, peers: frozenset[int], started: Future[Callable[[], object]]) -> None:
    """Serves until what it gives to `started` is called, from any thread."""
    loop, ended, doors = asyncio.get_running_loop(), asyncio.Event(), WeakSet[Door]()

    def door() -> Door:
        made = Door(inbox, peers, loop)
        doors.add(made)
        return made

    server = await loop.create_server(door, sock=listener)
    started.set_result(lambda: loop.call_soon_threadsafe(ended.set))
    await ended.wait()
    server.close()
    for each in list(doors):
        if each.transport is not None:
            each.transport.close()
    await asyncio.sleep(0)  # what is closed is gone with the next turn
