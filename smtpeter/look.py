"""What does a visitor of a click host find: where the DNS leads, which certificate is shown, who answers?

Nothing is connected to but the service's own addresses: whose DNS leads elsewhere cannot have this host knock there.
"""

import errno
import secrets
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from journal.seal import Ring
from policy.click_hosts import ClickHost, Look
from smtpeter.errors import UserError
from smtpeter.name_server import NameServer, Unanswered
from smtpeter.trust import client_context
from web import proof

Network = IPv4Network | IPv6Network

SECONDS = 10.0  # for one address, to connect, shake hands and answer
FIRST_SECONDS = 30.0  # the same where the certificate may have to be fetched first
BUSY_SECONDS = 1.0  # a refusal after that is one: it took an authority to come to it, which is not to be asked again at once
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds, and up to as much again, between the tries where one was refused earlier
ADDRESSES = 8  # of one host that are visited
LARGEST = 16_384  # octets of an answer
SOON = 21 * 86_400  # seconds; a certificate that ends before is a warning, of a short one the last fifth
FIFTH = 5

# This host has no way to an address of that family; visitors may have one.
_NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class _Unreached(Exception):
    """Nobody answered at an address; browsers try the next one."""


class _Wrong(Exception):
    """What answered at an address is not what a visitor should find; browsers go no further."""


class _Busy(_Wrong):
    """The handshake was refused at once, as Caddy 2.6 does at times when several hosts have their first one."""


def host_name(host: str) -> str:
    """A host without the port that may follow it."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def addresses_of(names: NameServer, host: str) -> list[str]:
    """Where the DNS leads, or the address that the host is itself. Raises Unanswered."""
    name = host_name(host)
    try:
        return [str(ip_address(name))]
    except ValueError:
        return names.addresses(name)


def own_networks(names: NameServer, addresses: Iterable[Network], own: str) -> tuple[Network, ...]:
    """Where click hosts are to lead: `addresses`, as the settings have them, else wherever the service's own host leads.

    Raises Unanswered.
    """
    return tuple(addresses) or tuple(map(ip_network, addresses_of(names, own)))


def led(names: NameServer, host: str, ours: Iterable[Network]) -> tuple[str, ...] | Look:
    """The addresses a host leads to, all of them ours, or why not."""
    try:
        found = addresses_of(names, host)
    except Unanswered as error:
        return Look(certificates=False, links=False, reason=f"the DNS did not answer ({error})", answered=False)
    if not found:
        return Look(certificates=False, links=False, reason="it has no address in the DNS")
    networks = tuple(ours)
    foreign = sorted(address for address in found if not any(ip_address(address) in network for network in networks))
    if foreign:
        return Look(certificates=False, links=False, reason=f"the DNS leads to {', '.join(foreign)}, which is not this service")
    return tuple(found)


class Visitor:
    """Visits click hosts. `ca` is a file of authorities besides the system's. Raises UserError where it cannot be read."""

    def __init__(self, ring: Ring, ca: Path | None) -> None:
        self._ring = ring
        self._context = client_context()
        if ca is not None:
            try:
                self._context.load_verify_locations(ca)
            except (OSError, ssl.SSLError) as error:
                raise UserError(f"the authorities in {ca} (web.ca) cannot be read: {error.strerror or error}") from error

    def visit(self, place: ClickHost, addresses: Iterable[str], seconds: float) -> Look:
        """What is found at a host whose DNS is in order: one address must answer, and none wrongly."""
        reached, unreached, warnings = False, [], []
        for address in tuple(addresses)[:ADDRESSES]:
            try:
                warnings.append(self._visit(place, address, seconds))
                reached = True
            except _Unreached as error:
                unreached.append(error)
            except _Wrong as error:
                return Look(certificates=True, links=False, reason=str(error))
        if not reached:
            return Look(certificates=True, links=False, reason=str(unreached[0]))
        warnings += [str(error) for error in unreached if getattr(error.__cause__, "errno", None) not in _NO_WAY]
        return Look(certificates=True, links=True, reason="; ".join(dict.fromkeys(filter(None, warnings))))

    def _visit(self, place: ClickHost, address: str, seconds: float) -> str:
        """A warning or "". Raises _Unreached and _Wrong."""
        for pause in PAUSES:
            with suppress(_Busy):
                return self._once(place, address, seconds)
            time.sleep(pause * (1 + secrets.randbelow(100) / 100))  # not all of them again together
        return self._once(place, address, seconds)

    def _once(self, place: ClickHost, address: str, seconds: float) -> str:
        """The same. Raises _Busy, too."""
        begun = time.monotonic()
        end = begun + seconds
        port = int(place.host.rpartition(":")[2]) if _has_port(place.host) else 443 if place.https else 80
        where = f"{address} port {port}"
        question = secrets.token_hex(16).encode()
        try:
            with socket.create_connection((address, port), timeout=seconds) as connection:
                if not place.https:
                    self._check(place, question, _answer(connection, place, question, end), where)
                    return ""
                with self._context.wrap_socket(connection, server_hostname=host_name(place.host)) as session:
                    warning = _ends_soon(session.getpeercert() or {}, time.time())
                    self._check(place, question, _answer(session, place, question, end), where)
                    return warning
        except ssl.SSLCertVerificationError as error:
            raise _Wrong(f"its certificate is not valid: {error.verify_message.rstrip('.')} ({where})") from error
        except TimeoutError as error:
            raise _Unreached(f"{where} did not answer in time") from error
        except ssl.SSLError as error:
            reason = (error.reason or "TLS failed").replace("_", " ").lower()
            refused = _Busy if time.monotonic() - begun < BUSY_SECONDS else _Wrong
            raise refused(f"no certificate is shown ({where}: {reason})") from error
        except OSError as error:
            raise _Unreached(f"{where} cannot be reached: {error.strerror or error}") from error

    def _check(self, place: ClickHost, question: bytes, answer: bytes, where: str) -> None:
        head, _, content = answer.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        code = status.split(" ")[1] if status.startswith("HTTP/") and " " in status else ""
        elsewhere = next((line.split(":", 1)[1].strip() for line in fields if line.lower().startswith("location:")), "")
        if elsewhere and code.startswith("3"):
            base = elsewhere.partition("?")[0]
            raise _Wrong(f"it sends visitors to {base[:200]!r} ({where})")
        if code != "200":
            raise _Wrong(f"it answers with status {code[:3] or 'none'} ({where})")
        if not proof.proves(self._ring, place.host, question, content):
            raise _Wrong(f"another server answers ({where})")


def _has_port(host: str) -> bool:
    """Whether a port follows the host."""
    return host.rpartition(":")[2].isdecimal() and (host.count(":") == 1 or "]:" in host)


def _answer(connection: socket.socket, place: ClickHost, question: bytes, end: float) -> bytes:
    """What the host answers, as far as it comes in time. HTTP/1.0, so that it comes in one piece and then ends."""
    request = b"GET %b?%b HTTP/1.0\r\nHost: %b\r\nUser-Agent: smtpeter-probe\r\n\r\n"
    connection.sendall(request % (proof.PATH, question, place.host.encode()))
    found = b""
    while len(found) < LARGEST:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(LARGEST)
        if not piece:
            break
        found += piece
    return found


def _ends_soon(certificate: Mapping[str, object], now: float) -> str:
    start, end = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
    if end - now > min(SOON, (end - start) / FIFTH):
        return ""
    return f"its certificate ends on {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC and has not been renewed"
