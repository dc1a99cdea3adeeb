"""The ports the service listens on, and who holds one that is taken."""

import errno
import re
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from smtpeter.errors import UserError

_LISTEN = "0A"  # the state TCP_LISTEN in /proc/net/tcp, see proc(5)
_CHOOSE_OTHERS = "choose others with --ports 2525,2587,2465"
# Below the ports the kernel gives to outgoing connections (ip_local_port_range), which come and go.
_QUIET = range(20_000, 32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One TCP port for each way in: SMTP and submission with STARTTLS, submissions with TLS from the first byte."""

    smtp: int = 25
    submission: int = 587
    submissions: int = 465

    @classmethod
    def parse(cls, text: str) -> Self:
        """The ports in `25,587,465`, in this order. Raises UserError."""
        words = [word.strip() for word in text.split(",")]
        if len(words) != 3 or not all(re.fullmatch(r"[0-9]{1,5}", word) for word in words):
            raise UserError(f"--ports takes three numbers such as 25,587,465 (SMTP, submission, submissions), not {text!r}")
        numbers = [int(word) for word in words]
        if len(set(numbers)) != 3 or not all(0 < number < 65536 for number in numbers):
            raise UserError(f"--ports takes three different numbers from 1 to 65535, not {text!r}")
        return cls(smtp=numbers[0], submission=numbers[1], submissions=numbers[2])

    def all(self) -> tuple[int, int, int]:
        """The numbers, in the order of `parse`."""
        return self.smtp, self.submission, self.submissions


def require_free(addresses: Iterable[str], ports: Ports) -> None:
    """Raises UserError when one of the ports cannot be opened on one of the addresses, naming who holds it."""
    for address in addresses:
        for port in ports.all():
            open_listener(address, port, _CHOOSE_OTHERS).close()


def open_listener(address: str, port: int, advice: str) -> socket.socket:
    """A socket that listens. Raises UserError that names who holds the port and gives the advice.

    As Postfix would: connections in TIME_WAIT are no obstacle, :: does not take IPv4 along.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        # Two sockets that both reuse the address may be bound; only one of them may listen.
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise UserError(_sentence(address, port, error, advice)) from error
    return listener


def unused_port(address: str, *, but: Iterable[int]) -> int:
    """A port nobody listens on now, for a program that cannot be given a socket; none of `but`. Raises UserError."""
    for port in secrets.SystemRandom().sample(sorted(set(_QUIET) - set(but)), 100):
        with suppress(UserError):
            open_listener(address, port, "").close()
            return port
    raise UserError(f"no port from {_QUIET.start} to {_QUIET.stop - 1} can be opened on {address}")


def holder(port: int) -> str:
    """Who listens on a TCP port: `nginx (pid 12)`, or `another process` where it cannot be seen from here."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        if wanted & _descriptors(process):
            with suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "another process"


def _descriptors(process: Path) -> set[str]:
    """What the descriptors of a process are, as proc(5) writes it; empty for one that has ended or is not ours to see."""
    found = set()
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(link.readlink()))
    return found


def _listening(port: int) -> set[str]:
    """The inodes of the sockets that listen on a TCP port."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue  # no IPv6 in this kernel, or no /proc
        for row in rows:
            columns = row.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes


def _sentence(address: str, port: int, error: OSError, advice: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by {holder(port)}: stop it, or {advice}"
    if error.errno == errno.EACCES:
        return f"port {port} may only be opened by root: use sudo, or {advice}"
    return f"port {port} cannot be opened on {address}: {error.strerror}"
