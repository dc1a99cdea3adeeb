"""What the DNS says: the answers of a name server, where it gives any."""

from ipaddress import ip_address
from typing import Any, Self

import dns.exception
import dns.resolver

from smtpeter.errors import UserError

SECONDS = 5.0  # for all attempts at one question
AFTERWARDS = 1.0  # the same for the questions after one that was not answered in time
PORT = 53


class Unanswered(Exception):
    """The name server did not say whether there is such a record; the text says why."""


class NameServer:
    """Asks for records; names are without their final dot. Every question raises Unanswered."""

    def __init__(self, resolver: dns.resolver.Resolver) -> None:
        self._resolver = resolver

    @classmethod
    def at(cls, place: str | None) -> Self:
        """The one at ADDRESS or ADDRESS:PORT, None for the system's. Raises UserError."""
        try:
            resolver = dns.resolver.Resolver(configure=place is None)
            if place is not None:
                address, resolver.port = _parts(place)
                resolver.nameservers = [address]
        except dns.exception.DNSException as error:
            raise UserError(f"no name server to ask: {error}; give one with --nameserver ADDRESS") from error
        resolver.lifetime = SECONDS
        return cls(resolver)

    def texts(self, name: str) -> list[str]:
        """The texts of the TXT records at a name, or at the name it is an alias of."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def alias(self, name: str) -> str:
        """The name that a name is an alias of, "" for none."""
        return next((_plain(record.target) for record in self._ask(name, "CNAME")), "")

    def has_address(self, name: str) -> bool:
        """Whether a name leads to an address, in whatever way."""
        return bool(self._ask(name, "A") or self._ask(name, "AAAA"))

    def addresses(self, name: str) -> list[str]:
        """The addresses that a name leads to, in whatever way; those of IPv4 first."""
        return [*(record.address for record in self._ask(name, "A")), *(record.address for record in self._ask(name, "AAAA"))]

    def mail_hosts(self, name: str) -> list[str]:
        """The hosts of the MX records at a name."""
        return [_plain(record.exchange) for record in self._ask(name, "MX")]

    def services(self, name: str) -> list[str]:
        """The SRV records at a name, as a zone file has them."""
        found = self._ask(name, "SRV")
        return [f"{record.priority} {record.weight} {record.port} {_plain(record.target)}" for record in found]

    def _ask(self, name: str, kind: str, aliases: int = 8) -> list[Any]:
        """The records; an alias that the server leaves us with is followed, as often as `aliases` says."""
        try:
            answer = self._resolver.resolve(name, kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except dns.exception.DNSException as error:
            if isinstance(error, dns.exception.Timeout):
                self._resolver.lifetime = AFTERWARDS
                raise Unanswered("it took too long") from error
            raise Unanswered(" ".join(str(error).split())) from error
        target = _plain(answer.canonical_name)
        if answer.rrset is None and target != name.lower() and aliases:
            return self._ask(target, kind, aliases - 1)
        return list(answer)


def _parts(place: str) -> tuple[str, int]:
    """Address and port; an IPv6 address has brackets where a port follows. Raises UserError."""
    if place.startswith("["):
        address, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    else:
        address, _, port = place.partition(":") if place.count(":") == 1 else (place, "", "")
    try:
        found, number = str(ip_address(address)), int(port or PORT)
    except ValueError:
        found, number = "", 0
    if not 1 <= number <= 65535:
        raise UserError(f"a name server cannot be {place!r}; it takes an address such as 192.0.2.1, or with a port 192.0.2.1:53")
    return found, number


def _plain(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()
