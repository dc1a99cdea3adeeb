"""Outgoing mail kept in a folder instead of sent: an SMTP server on loopback that Postfix relays everything to.

Each message becomes two files of one name, NAME.eml with the bytes that came over the wire and NAME.json with the
envelope. Both are complete and on disk before the server answers 250, whenever the process is killed: they are written
under another name first, and NAME.eml appears last. NAME sorts by time: 20240131T235959.123456Z-1a2b3c4d.
"""

import asyncio
import json
import logging
import os
import re
import secrets
import signal
import socket
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from smtpeter import activation
from smtpeter.durable import write_new
from smtpeter.errors import UserError

SOCKET = "capture"  # the name of the inherited socket
_log = logging.getLogger("smtpeter.capture")

# RFC 5321 section 4.1.2; a quoted local part may hold ">". What follows are the parameters.
_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(.*)', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One RCPT: the address, and its parameters in upper case, such as NOTIFY and ORCPT (RFC 3461)."""

    address: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One delivery as NAME.json has it. `received` is UTC (ISO 8601); an empty `mail_from` is the null sender."""

    received: str
    mail_from: str
    mail_parameters: dict[str, str]
    rcpt_to: tuple[Recipient, ...]


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on loopback; 0 chooses a free port, `getsockname` tells which. Raises UserError."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=socket.SOMAXCONN)
    except OSError as error:
        raise UserError(f"port {port} cannot be opened on 127.0.0.1: {error.strerror}") from error


def serve(directory: Path, port: int = 0) -> None:
    """Accepts mail until SIGTERM or SIGINT, on the inherited socket `capture` or, without one, on a port of loopback."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"the folder {directory} cannot be made: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UserError(f"the folder {directory} cannot be written to")
    listener = activation.inherited().get(SOCKET) or listen(port)
    with listener:
        asyncio.run(_serve(directory, listener))


async def _serve(directory: Path, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    handler = Handler(directory)
    server = await loop.create_server(lambda: Sink(handler, hostname="capture.invalid", loop=loop), sock=listener)
    _log.info("mail for %s:%d is kept in %s", *listener.getsockname(), directory)
    await stop.wait()
    server.close()


def keep(directory: Path, content: bytes, captured: Captured) -> str:
    """Writes both files, durably, and returns their name without the ending. Raises OSError."""
    stamp = datetime.fromisoformat(captured.received).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"{stamp}-{secrets.token_hex(4)}"
    envelope = json.dumps(asdict(captured), indent=2).encode() + b"\n"
    drafts = [(directory / f".{name}{ending}.draft", directory / f"{name}{ending}") for ending in (".json", ".eml")]
    try:
        for (draft, _), part in zip(drafts, (envelope, content), strict=True):
            write_new(draft, part)
        # The message last: who sees it finds its envelope.
        for draft, final in drafts:
            draft.rename(final)
    finally:
        for draft, _ in drafts:
            draft.unlink(missing_ok=True)
    _sync(directory)
    return name


def _sync(directory: Path) -> None:
    """Makes the new names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class Handler:  # no slots: aiosmtpd looks at every attribute, and in Python 3.11.2 that fails on __weakref__
    """What aiosmtpd calls: advertises DSN, keeps messages, answers 4xx to everything that goes wrong."""

    directory: Path

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Adds what the sink understands beyond aiosmtpd (RFC 3461 section 4.1)."""
        session.host_name = hostname
        return [*responses[:-1], "250-DSN", responses[-1]]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keeps the message; 250 only when it is on disk."""
        captured = Captured(
            received=datetime.now(UTC).isoformat(timespec="microseconds"),
            mail_from=envelope.mail_from or "",
            mail_parameters=_parameters(" ".join(envelope.mail_options)),
            rcpt_to=tuple(
                Recipient(address=address, parameters=_parameters(options))
                for address, options in zip(envelope.rcpt_tos, envelope.rcpt_options, strict=True)
            ),
        )
        content = envelope.original_content or b""
        try:
            name = await asyncio.to_thread(keep, self.directory, content, captured)
        except OSError as error:
            _log.exception("a message of %d octets was not kept", len(content))
            return f"452 4.3.1 Cannot keep the message: {error.strerror}"
        _log.info("%s: %d octets, %d recipients", name, len(content), len(captured.rcpt_to))
        return f"250 2.0.0 Ok: kept as {name}"

    async def handle_exception(self, error: Exception) -> str:
        """A defect here must not bounce mail: try again later."""
        _log.error("unexpected", exc_info=error)
        return "451 4.3.0 Temporary failure, please try again later"


class Sink(SMTP):
    """aiosmtpd with the DSN parameters, the null sender and lines of any length.

    Its own MAIL and RCPT refuse the parameters of RFC 3461 and put all others in upper case, so both are replaced;
    `smtp_` methods are its documented way to do so. `mail_from` is None until MAIL, "" for the null sender.
    """

    # Nothing is too long for the sink: what Postfix wrote is what it must show.
    line_length_limit = 2**30
    command_size_limit = 2**16
    command_size_limits = defaultdict(lambda: 2**16)

    def __init__(self, handler: Handler, *, hostname: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(handler, hostname=hostname, loop=loop, ident="ESMTP", data_size_limit=None, enable_SMTPUTF8=True)

    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL FROM:<reverse-path> [parameters]."""
        if await self.check_helo_needed():
            return
        parsed = _parse("FROM:", arg)
        if self.envelope is None or self.envelope.mail_from is not None:
            await self.push("503 5.5.1 Error: nested MAIL command")
        elif parsed is None:
            await self.push("501 5.5.4 Syntax: MAIL FROM:<address>")
        else:
            self.envelope.mail_from = parsed[0]
            self.envelope.mail_options.append(parsed[1])
            await self.push("250 2.1.0 Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT TO:<forward-path> [parameters]; `rcpt_options` gets one entry for each recipient."""
        parsed = _parse("TO:", arg)
        if self.envelope is None or self.envelope.mail_from is None:
            await self.push("503 5.5.1 Error: need MAIL command")
        elif parsed is None or not parsed[0]:
            await self.push("501 5.5.4 Syntax: RCPT TO:<address>")
        else:
            self.envelope.rcpt_tos.append(parsed[0])
            self.envelope.rcpt_options.append(parsed[1])
            await self.push("250 2.1.5 Ok")


def _parse(keyword: str, argument: str | None) -> tuple[str, str] | None:
    """The address and the parameters of MAIL or RCPT (RFC 5321 section 4.1.2); None for a syntax error."""
    if argument is None or argument[: len(keyword)].upper() != keyword:
        return None
    match = _PATH.fullmatch(argument[len(keyword) :].strip())
    return (match[1], match[2]) if match else None


def _parameters(options: str) -> dict[str, str]:
    """Parameters by name in upper case; the value is "" where there is none, as with SMTPUTF8."""
    words = (word.partition("=") for word in options.split())
    return {name.upper(): value for name, _, value in words}
