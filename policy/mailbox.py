"""A mailbox (RFC 5321 4.1.2) as it is compared: the same for MAIL FROM and for the fields of a message."""

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from unicodedata import normalize

import idna

from policy.domains import normalise_domain

DOMAIN_LIMIT = 253  # octets of a name in ASCII; a longer one in Unicode cannot be shorter there

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"  # as in a host name, and with the underscore that some have nevertheless
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_PAIR = re.compile(r"\\(.)", re.DOTALL)


class Doubtful(ValueError):
    """An address that two readers may read in two ways; the message says why, in words that fit behind a colon."""


class Mailbox(NamedTuple):
    """`local` is without quotes; `domain` is in ASCII and lower case, a literal in its brackets, "" where there is none."""

    local: str
    domain: str


def forms(domain: str) -> tuple[str, ...]:
    """What a domain as it was written may be in ASCII, the usual form first. Raises Doubtful where that cannot be told.

    There are several where the two standards disagree (straße, in IDNA 2003 and 2008).
    """
    if domain.startswith("["):
        return (_literal(domain),)
    name = domain.rstrip(".").lower()
    if len(name) > DOMAIN_LIMIT:
        raise Doubtful("a domain is too long")
    found = (name,) if name.isascii() else _ascii_forms(name)
    if not found or not all(map(_is_plain, found)):
        raise Doubtful("a domain has characters that no domain has")
    return found


def read_path(text: str) -> tuple[Mailbox, ...]:
    """What the address of MAIL FROM may be, quoted or not; without brackets, and not empty. Raises Doubtful."""
    local, _, domain = text.rpartition("@")
    if _CONTROL.search(text):
        raise Doubtful("it has a control character, or is no UTF-8")
    if not local or "@" in local:
        raise Doubtful("it has no domain, or more than one @")
    plain = unquote(local) if len(local) > 1 and local[0] == local[-1] == '"' else local
    return tuple(Mailbox(plain, form) for form in forms(domain))


def unquote(quoted: str) -> str:
    """The content of a quoted string (RFC 5322 3.2.4)."""
    return _PAIR.sub(r"\1", quoted[1:-1])


def _ascii_forms(name: str) -> tuple[str, ...]:
    found = []
    with suppress(ValueError):
        found.append(normalise_domain(name))
    with suppress(idna.IDNAError, UnicodeError):
        found.append(idna.encode(name, uts46=True).decode("ascii").rstrip(".").lower())
    return tuple(dict.fromkeys(found))


def _is_plain(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and all(map(_is_what_it_says, name.split(".")))


def _is_what_it_says(label: str) -> bool:
    """Whether a label in ASCII form (RFC 5890) stands for characters that no reader takes for others."""
    if not label.startswith("xn--"):
        return True
    try:
        shown = label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return False
    return not shown.isascii() and normalize("NFKC", shown) == shown


def _literal(text: str) -> str:
    """An address literal (RFC 5321 4.1.3)."""
    content = text[1:-1].lower()
    address = content.removeprefix("ipv6:")
    try:
        (IPv4Address if address == content else IPv6Address)(address)
    except ValueError as error:
        raise Doubtful("a domain in brackets is no IP address") from error
    return f"[{content}]"
