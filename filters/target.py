"""Where a link leads, as its sender wrote it, in a form that a redirect can give back; or why it is not to be tracked.

The value of an attribute is read as a browser reads it (WHATWG URL 4.4): outer blanks, tabs and line ends do not count, what
is not ASCII is percent-encoded, a host in Unicode gets its ASCII form. Nothing else is changed: not a letter's case, no
escape, no dot segment. What a browser and a person could understand differently is left alone.
"""

import re
from collections.abc import Collection
from urllib.parse import quote

import idna

LONGEST = 5_500  # characters; sealed whole, it stays below the 8 KiB that the tracking host takes

_PLAIN = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]{1,5})?(?:[/?#][!#-;=?-\[\]-~]*)?")
_OUTER = "".join(map(chr, range(33)))  # C0 controls and space
_IGNORED = {9: None, 10: None, 13: None}
_WEB = re.compile(r"https?:", re.IGNORECASE)
_PARTS = re.compile(r"(https?://)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9._-]*)|(\[[0-9A-Fa-f:.]+\])|([^\x00-\x20%@:\[\]]+))(:[0-9]{1,5})?")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
_HALF = re.compile(r"[\ud800-\udfff]")  # half a character: an octet of a command line that is no UTF-8
# Another program may be meant to fill these in, and could not see them behind a seal.
_PLACEHOLDER = re.compile(r"\{[{%$]|[$#]\{|\*\||\[\[|%%|<%")


class Untracked(Exception):
    """This link is left as it is; the message is the reason, in a few words without any of the link."""


def target(value: str, *, unicode: bool) -> str | None:
    """The URL behind an attribute's value, ASCII and without blanks; None for anything that is no link to the web.

    `unicode` tells that characters beyond ASCII in it are what they seem to be. Raises Untracked for a link to the web that
    cannot be given back exactly, or should not be hidden.
    """
    url = value if _PLAIN.fullmatch(value) else _unusual(value, unicode=unicode)
    if url is None:
        return None
    if any(map(_PLACEHOLDER.search, {value, url})):
        raise Untracked("a placeholder in the address")
    if len(url) > LONGEST:
        raise Untracked(f"an address of more than {LONGEST} characters")
    return url


def host_of(url: str) -> str:
    """The host of a URL that `target` gave, in lower case, without its port."""
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0].lower()
    return authority.partition("]")[0] + "]" if authority.startswith("[") else authority.partition(":")[0]


def is_at(url: str, hosts: Collection[str]) -> bool:
    """Whether a URL that `target` gave leads to one of these hosts (lower case, without port)."""
    folded = url.lower()
    return any(host in folded for host in hosts) and host_of(url) in hosts


def _unusual(value: str, *, unicode: bool) -> str | None:
    url = value.strip(_OUTER).translate(_IGNORED)
    if _WEB.match(url) is None:
        return None
    if _FORBIDDEN.search(url):
        raise Untracked("a backslash or control character in the address")
    if not url.isascii() and (not unicode or _HALF.search(url)):
        raise Untracked("an address that is not ASCII, in a character set other than UTF-8")
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise Untracked("an address without a host")
    scheme, authority, rest = parts.groups()
    if "@" in authority:
        raise Untracked("a user name in the address")
    return scheme + _host(authority) + quote(rest, safe="!#$%&'()*+,/:;=?@[]^`{|}~")


def _host(authority: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise Untracked("a host that cannot be read")
    if found[3] is None:
        return authority
    try:
        return idna.encode(found[3], uts46=True).decode("ascii") + (found[4] or "")
    except idna.IDNAError as error:
        raise Untracked("a host that cannot be read") from error
