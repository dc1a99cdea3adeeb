"""A login: what a client authenticates with, what it may do, and the options its mail gets."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from policy.limits import Limits
from policy.options import Options

# Generated ones are 32 hex digits; a directory has its own. Nothing that could be a field or a line of its own anywhere.
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
GENERATED = re.compile(r"[0-9a-f]{32}")


class Dialect(StrEnum):
    """Another provider whose switches in the header are understood; or Symfony, whose Mailer has some for no certain one."""

    MAILGUN = "mailgun"
    MANDRILL = "mandrill"
    POSTMARK = "postmark"
    SENDGRID = "sendgrid"
    SPARKPOST = "sparkpost"
    SYMFONY = "symfony"


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """One password of a login. `number` counts up from 1; `hash` is an argon2id PHC string that is never shown.

    `created` is UTC, seconds since 1970. One that is to go is accepted before `until` (the same), and for as long as it is
    never unused for `idle` seconds.
    """

    number: int
    hash: str = field(repr=False)
    created: int
    until: int | None = None
    idle: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One login. `name` identifies it, `passwords` are those that open it, the newest last.

    `forced` names the options a message cannot change; `label` is the owner's own note of what uses the login. `created` and
    `expires` are UTC, seconds since 1970. `networks` (CIDR) and `ports` are where it may be used, `senders` the addresses and
    domains it may write as: empty means anywhere, and anything the account may. `external` tells that a directory compares
    the password, which is not known here.
    """

    name: str
    account: str
    passwords: tuple[Password, ...] = ()
    options: Options
    forced: frozenset[str] = frozenset()
    enabled: bool = True
    label: str = ""
    created: int
    expires: int | None = None
    networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    senders: tuple[str, ...] = ()
    dialects: frozenset[Dialect] = frozenset()
    limits: Limits = Limits()  # frozen, so one default serves all
    external: bool = False

    def usable(self, now: int) -> bool:
        """Whether it is enabled and has not expired."""
        return self.enabled and (self.expires is None or now < self.expires)

    def may_come_from(self, address: str) -> bool:
        """Whether it may be used from an IP address."""
        if not self.networks:
            return True
        found = client_address(address)
        return found is not None and any(found in _network(network) for network in self.networks)


def new_name(random: bytes) -> str:
    """A login name from 16 random bytes. Raises ValueError for another number of bytes."""
    if len(random) != 16:
        raise ValueError(f"a login name is made of 16 random bytes, not {len(random)}")
    return random.hex()


def client_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address a client comes from; an IPv4 address in IPv6's clothes (RFC 4291 2.5.5.2) is itself. None for anything else."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def neighbourhood(text: str) -> str:
    """What one client can choose its address from: the address itself, or the /64 of IPv6 (RFC 6177). "" for no address."""
    found = client_address(text)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return "" if found is None else str(found)


_network = lru_cache(maxsize=4096)(ip_network)
