"""Where the machines' mail goes: an SMTP server on the host that keeps every message in memory, or puts it off."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from aiosmtpd.smtp import SMTP, Envelope, Session

from smtpeter.capture import Sink as CapturingServer

from .process import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A message as it came over the wire, and its envelope."""

    mail_from: str
    recipients: tuple[str, ...]
    raw: bytes
    peer: str

    @property
    def header(self) -> bytes:
        """The header fields, with the end of the last line."""
        return self.raw.partition(b"\r\n\r\n")[0] + b"\r\n"


class Sink:
    """A running server at `host` and `port`. `close` when done."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, 0
        self.putting_off = False  # answers 451 to every message while it is true
        self.delivered: list[Delivered] = []
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self._loop.create_server(self._session, host, 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def relayhost(self) -> str:
        """As Postfix writes it."""
        return f"[{self.host}]:{self.port}"

    def close(self) -> None:
        """Stops the server; sessions are cut."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def found(self, wanted: Callable[[Delivered], bool], seconds: float = 60) -> Delivered:
        """The first message that fits, once it is there."""
        wait_until(lambda: any(wanted(message) for message in tuple(self.delivered)), "the message is delivered", seconds)
        return next(message for message in tuple(self.delivered) if wanted(message))

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keeps a message (called by aiosmtpd)."""
        if self.putting_off:
            return "451 4.3.0 Not now"
        self.delivered.append(
            Delivered(
                mail_from=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                raw=envelope.original_content or b"",
                peer=session.peer[0],
            )
        )
        return "250 2.0.0 Ok"

    def _session(self) -> asyncio.Protocol:
        return CapturingServer(self, hostname="sink.invalid", loop=self._loop)

    async def _stop(self) -> None:
        self._server.close()
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
