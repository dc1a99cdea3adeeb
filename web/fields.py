"""What the header fields of a request tell: who asks, through whom, and what of it is written down."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from web.machines import is_machine

Pair = tuple[bytes, bytes]

REMEMBERED = 512  # sets of fields; with web.connection.LARGEST_HEAD that is 16 MB at most
LONGEST = 8192  # characters that are written down

BAD_REQUEST, CONTENT_TOO_LARGE = 400, 413

_FORWARDED_FOR = b"x-forwarded-for"
# Secrets, and addresses: the visitor's is written down once, shortened where that is wished.
_PRIVATE = frozenset(
    (
        _FORWARDED_FOR, b"cookie", b"authorization", b"proxy-authorization",
        b"forwarded", b"x-real-ip", b"x-client-ip", b"client-ip", b"x-cluster-client-ip", b"true-client-ip", b"x-remote-ip",
        b"x-remote-addr", b"x-originating-ip", b"x-original-forwarded-for", b"cf-connecting-ip", b"cf-connecting-ipv6",
        b"cf-pseudo-ipv4", b"fastly-client-ip", b"fly-client-ip", b"x-azure-clientip", b"x-azure-socketip",
        b"x-envoy-external-address", b"x-appengine-user-ip", b"x-appengine-remote-addr", b"x-forwarded", b"forwarded-for",
        b"x-vercel-forwarded-for", b"x-nf-client-connection-ip", b"do-connecting-ip", b"incap-client-ip", b"x-sucuri-clientip",
        b"x-proxyuser-ip", b"x-ms-forwarded-client-ip", b"proxy-client-ip", b"wl-proxy-client-ip",
    )
)  # fmt: skip
_PURPOSES = frozenset((b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"))
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What was found. `refusal` is the status that answers a request which cannot be served, or 0.

    `host` is "" where the Host field names none; `text` is what is written down, a line for each field; `protocol` is what
    X-Forwarded-Proto says, or "".
    """

    host: str
    text: str
    machine: bool
    protocol: str
    if_none_match: str
    refusal: int


class FieldReader:
    """Reads fields, and remembers what the last different sets of them said: browsers of one kind send the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[Pair, ...], Fields] = {}

    def read(self, headers: Iterable[Pair]) -> tuple[Fields, str]:
        """The fields of a request, their names in lower case, and what X-Forwarded-For says.

        What is private is neither looked at nor remembered.
        """
        own, forwarded = [], ""
        for pair in headers:
            if pair[0] not in _PRIVATE:
                own.append(pair)
            elif pair[0] == _FORWARDED_FOR:
                # Several such fields are one list (RFC 9110 5.3).
                value = pair[1].decode("latin-1")
                forwarded = f"{forwarded},{value}" if forwarded else value
        key = tuple(own)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[key] = read(key)
        return found, forwarded


def read(headers: Sequence[Pair]) -> Fields:
    """The fields of a request, their names in lower case, without the private ones."""
    lines, hosts, purposes = [], [], []
    last = {b"user-agent": "", b"x-forwarded-proto": "", b"if-none-match": ""}
    body = False
    for name, octets in headers:
        value = octets.decode("latin-1")
        lines.append(f"{_capitals(name)}: {_CONTROLS.sub(' ', value)}")
        if name in last:
            last[name] = value
        elif name == b"host":
            hosts.append(value)
        elif name in _PURPOSES:
            purposes.append(value)
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip() != "0"):
            body = True
    # A list of schemes has the one that our own proxy saw at its end.
    protocol = last[b"x-forwarded-proto"].rpartition(",")[2].strip().lower()
    return Fields(
        host=hosts[0] if hosts and _HOST.fullmatch(hosts[0]) else "",
        text="\n".join(lines)[:LONGEST],
        machine=is_machine(last[b"user-agent"], " ".join(purposes)),
        protocol=protocol if protocol in ("http", "https") else "",
        if_none_match=last[b"if-none-match"],
        # RFC 9112 3.2: two Host fields are answered with 400. A browser that asks for a page sends no body.
        refusal=BAD_REQUEST if len(hosts) > 1 else CONTENT_TOO_LARGE if body else 0,
    )


@lru_cache(maxsize=256)
def _capitals(name: bytes) -> str:
    """The name as it is usually written; the server gives it in lower case."""
    return name.decode("latin-1").title()
