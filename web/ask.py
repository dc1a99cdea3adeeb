"""The question of the web server in front: may it fetch a certificate for this host? (Caddy: on_demand_tls, ask.)

Without it anybody could have it fetch certificates for names that are none of ours, until the authority refuses all of them.
The answer is in a file that `smtpeter domain probe` writes: nothing is looked up, in no database and not in the DNS.
"""

import json
import logging
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs

PATH = b"/.smtpeter/ask"

# What a proxy adds for those it speaks for: they are not to ask, and the web server itself needs no proxy.
_FORWARDING = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded", b"via"))

_log = logging.getLogger("smtpeter.web")


class CertificateHosts:
    """The hosts that a certificate may be fetched for, as the file says that `domain probe` has written last."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._hosts: frozenset[str] = frozenset()

    def __contains__(self, host: object) -> bool:
        """Looks whether the file has changed, which takes a few microseconds. Never fails: without a file there are none."""
        try:
            found = self._file.stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
            if stamp != self._stamp:
                self._stamp = stamp  # one that cannot be read is told of once
                self._hosts = frozenset(map(str, json.loads(self._file.read_bytes())["certificates"]))
        except FileNotFoundError:
            self._stamp, self._hosts = None, frozenset()
        except (OSError, ValueError, TypeError, LookupError) as error:
            _log.warning("the click hosts in %s cannot be read, the %d known ones stay: %s", self._file, len(self._hosts), error)
        return host in self._hosts


def is_direct(peer: str, host: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request is from this machine itself: by its `peer`, "" for a unix socket, and to its `host`, through nobody."""
    return (not peer or _is_loopback(peer)) and _is_loopback(_name(host)) and all(name not in _FORWARDING for name, _ in headers)


def asked(query: bytes) -> str:
    """The host that a question is about, "" where that is not one host."""
    found = parse_qs(query.decode("latin-1")).get("domain", [])
    return found[0].lower().rstrip(".") if len(found) == 1 else ""


def _name(host: str) -> str:
    """A Host field without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"
