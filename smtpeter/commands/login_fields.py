"""What a login may do, as options of the command: the same for `login add` and `login set`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Network, ip_network
from typing import Annotated, Any

import typer

from policy.identity import check_sender
from policy.limits import LIMITS, Limits
from policy.login import Dialect, Login
from policy.options import Options, settled
from smtpeter.errors import UserError
from smtpeter.moments import NEVER, moment
from smtpeter.output import utc

LABEL_LENGTH = 255

Senders = Annotated[
    list[str] | None,
    typer.Option(
        "--sender", metavar="WHO", help='An address, a domain or "*.DOMAIN" it may write as; may be repeated. "" = any.'
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help='Addresses it may be used from; may be repeated. "" = any.'),
]
LoginPorts = Annotated[
    list[str] | None, typer.Option("--port", metavar="PORT", help='A port it may be used on; may be repeated. "" = any.')
]
Dialects = Annotated[
    list[str] | None,
    typer.Option(
        "--dialect",
        metavar="PROVIDER",
        help=f'Understands the switches of {", ".join(Dialect)} too; may be repeated. "" = none.',
    ),
]
GivenLimits = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="LIMIT=N", help=f"Any of {', '.join(limit.name for limit in LIMITS)}; none = no limit."),
]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help=f"When it ends: 2027-01-31, 2027-01-31 12:00 (UTC) or {NEVER}.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was typed; None where the login keeps what it has."""

    options: Mapping[str, str]
    label: str | None = None
    senders: list[str] | None = None
    networks: list[str] | None = None
    ports: list[str] | None = None
    dialects: list[str] | None = None
    limits: list[str] | None = None
    expires: str | None = None

    def __bool__(self) -> bool:
        lists = (self.senders, self.networks, self.ports, self.dialects, self.limits)
        return bool(self.options) or any(value is not None for value in (self.label, self.expires, *lists))

    def change(self) -> Callable[[Login], Login]:
        """The change of a login that this asks for. Raises UserError, InvalidOption or InvalidLimit at once."""
        fields = self._fields()
        limits = words(self.limits, "LIMIT=N, such as messages-hour=100")
        Limits().with_words(limits)
        settled(Options(), frozenset(), self.options)

        def change(login: Login) -> Login:
            options, forced = settled(login.options, login.forced, self.options)
            return replace(login, options=options, forced=forced, limits=login.limits.with_words(limits), **fields)

        return change

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.label is not None:
            fields["label"] = checked_label(self.label)
        if self.expires is not None:
            fields["expires"] = moment(self.expires, "the end of a login")
        readers: tuple[tuple[str, list[str] | None, Callable[[str], Any]], ...] = (
            ("senders", self.senders, check_sender),
            ("networks", self.networks, checked_network),
            ("ports", self.ports, _port),
            ("dialects", self.dialects, _dialect),
        )
        for name, given, read in readers:
            if given is not None:
                found = [_read(read, text.strip()) for text in given if text.strip()]
                fields[name] = frozenset(found) if name == "dialects" else tuple(dict.fromkeys(found))
        return fields


def words(given: list[str] | None, form: str) -> dict[str, str]:
    """NAME=WORD texts as a mapping. Raises UserError for one without an equals sign; `form` tells how they look."""
    found = {}
    for text in given or []:
        name, equals, word = text.partition("=")
        if not equals:
            raise UserError(f"{text!r} cannot be read; it takes {form}")
        found[name.strip().lower()] = word
    return found


def checked_label(label: str) -> str:
    """The label if it can be one. Raises UserError."""
    if len(label) > LABEL_LENGTH or not label.isprintable():
        raise UserError(f"a label takes up to {LABEL_LENGTH} printable characters")
    return label


def shown(login: Login) -> dict[str, Any]:
    """The properties of a login that may be given, for `login show`."""
    return {
        "expires": NEVER if login.expires is None else utc(login.expires),
        "senders": list(login.senders),
        "networks": list(login.networks),
        "ports": list(login.ports),
        "dialects": sorted(login.dialects),
        "limits": login.limits.as_words(),
    }


def pairs(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The row with each mapping in it as NAME=WORD texts and each empty list as what it stands for."""
    found = dict(row)
    for name in names:
        value = found[name]
        if isinstance(value, Mapping) and value:
            found[name] = [f"{key}={word}" for key, word in value.items()]
        elif not value:
            found[name] = "none" if name in ("dialects", "used") else "any"
    return found


def _read(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise UserError(str(error)) from error


def checked_network(text: str) -> str:
    """The network as it is kept. Raises UserError."""
    try:
        found = ip_network(text, strict=False)
        # Clients are compared as IPv4 where they come in IPv6's clothes (RFC 4291 2.5.5.2).
        mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) and found.prefixlen >= 96 else None
        return str(found if mapped is None else ip_network((mapped, found.prefixlen - 96)))
    except ValueError as error:
        raise UserError(f"a network cannot be {text!r}; it takes an address or a network such as 192.0.2.0/24") from error


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise UserError(f"a port cannot be {text!r}; it takes a number from 1 to 65535")
    return int(text)


def _dialect(text: str) -> Dialect:
    try:
        return Dialect(text.lower())
    except ValueError as error:
        raise UserError(f"there is no dialect {text!r}; there are {', '.join(Dialect)}") from error
