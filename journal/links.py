"""The URLs that record a visit: made for one recipient of one message, read back without a database.

A link keeps its path and query; its host becomes the click host, and an identifier is added behind the path:
`/path-ID?query#fragment`. Sealed in it are recipient, number, scheme, host and fragment; path and query are bound to it as
they are written, so neither can be exchanged. A target that might not come through browsers and proxies as it is written
is sealed whole, as `/-ID`. The redirect goes to exactly what was sealed, never to what a request says.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from journal.seal import Ring, octets, written

RECIPIENT_LENGTH = 9  # octets, random
LAST_NUMBER = 32_767  # of the links of one message
IMAGE_NAME = r"[a-z2-7]{32}\.(?:png|jpg|gif|webp)"
PIXEL_PREFIX, IMAGE_PREFIX = "/o/", "/i/"

_LINK, _PIXEL, _IMAGE = b"link", b"pixel", b"image"
# What leaves every browser, proxy and mail program as it came in: no escapes in the path, no empty or hidden segment.
_VISIBLE = re.compile(
    r"(https?)://(www\.)?([^/?#]+)((?:/(?![/.])[A-Za-z0-9._~+,;=:@!$&-]*)*)"
    r"(?:\?((?:[A-Za-z0-9._~+,;=:@!$&?/-]|%[0-9A-Fa-f]{2})+))?(?:#([A-Za-z0-9._~+,;=:@!$&?/%-]+))?"
)
_HOSTED_URL = re.compile(rf"https?://[^/]+{IMAGE_PREFIX}({IMAGE_NAME})")
_PIXEL_PATH = re.compile(rb"/o/([A-Za-z0-9]+)\.gif")
_IMAGE_PATH = re.compile(rb"/i/([a-z2-7]{32})(?:-([A-Za-z0-9]+))?\.(png|jpg|gif|webp)")


# The first octet of what is sealed. So many hosts begin with "www." and end with ".com" that each has a bit of its own.
_HTTPS, _WWW, _WHOLE, _NO_PATH, _IMAGE_LINK, _COM = 1, 2, 4, 8, 16, 32
_BEGINNING = _HTTPS | _WWW
_BEGINNINGS = ("http://", "https://", "http://www.", "https://www.")


class Visit(NamedTuple):
    """What a tracked URL says: whose it is, which of the message's links (from 1), where it goes, what kind it is.

    `image` tells a picture's link from a link to click on. `destination` is empty for the pixel and for hosted images.
    A tuple, because one is made for each request, and a frozen dataclass takes three times as long.
    """

    recipient: bytes
    number: int
    image: bool
    destination: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedImage:
    """The path of a hosted image: its name, and the visit where the path also names a recipient.

    `forged` tells a path whose identifier does not unseal: the picture is shown all the same, nothing is recorded.
    """

    name: str
    visit: Visit | None
    forged: bool = False


def tracked(ring: Ring, recipient: bytes, number: int, url: str, base: str, *, image: bool = False) -> str:
    """The URL that records the visit of `recipient` and goes on to `url`; `base` is scheme and click host.

    `url` is ASCII, begins with http:// or https:// and has no blank (filters.target makes it so).
    """
    found = _VISIBLE.fullmatch(url)
    flags = _IMAGE_LINK if image else 0
    if found is None:
        payload = _payload(flags | _WHOLE, recipient, number, url)
        return f"{base}/-{written(ring.seal(payload, _LINK, b'/'))}"
    scheme, www, host, path, query, fragment = found.groups()
    if scheme == "https":
        flags |= _HTTPS
    if www:
        flags |= _WWW
    if host.endswith(".com"):
        flags |= _COM
        host = host[:-4]
    if not path:
        flags |= _NO_PATH
        path = "/"
    tail = f"?{query}" if query else ""
    payload = _payload(flags, recipient, number, f"{host}#{fragment}" if fragment else host)
    token = written(ring.seal(payload, _LINK, (path + tail).encode()))
    return f"{base}{path}-{token}{tail}#{fragment}" if fragment else f"{base}{path}-{token}{tail}"


def read(ring: Ring, path: bytes, query: bytes) -> Visit | None:
    """The visit that a request for this path and query is, or None where nothing we made names it."""
    shown, dash, token = path.rpartition(b"-")
    sealed = octets(token) if dash else None
    if sealed is None:
        return None
    address = shown + b"?" + query if query else shown
    payload = ring.unseal(sealed, _LINK, address)
    if payload is None:
        return None
    flags = payload[0]
    number, at = _number(payload, 1 + RECIPIENT_LENGTH)
    text = payload[at:].decode("ascii")
    if not flags & _WHOLE:
        host, hash_sign, fragment = text.partition("#")
        seen = (address[1:] if flags & _NO_PATH else address).decode("ascii")
        end = ".com" if flags & _COM else ""
        text = f"{_BEGINNINGS[flags & _BEGINNING]}{host}{end}{seen}{hash_sign}{fragment}"
    return Visit(payload[1 : 1 + RECIPIENT_LENGTH], number, flags & _IMAGE_LINK != 0, text)


def pixel(ring: Ring, recipient: bytes, base: str) -> str:
    """The URL of the invisible picture that records that the message of `recipient` was opened."""
    return f"{base}{PIXEL_PREFIX}{written(ring.seal(recipient, _PIXEL))}.gif"


def is_pixel(path: bytes) -> bool:
    """Whether a path asks for a pixel, valid or not."""
    return _PIXEL_PATH.fullmatch(path) is not None


def read_pixel(ring: Ring, path: bytes) -> Visit | None:
    """The visit that a request for a pixel is, or None where it is none of ours."""
    found = _PIXEL_PATH.fullmatch(path)
    sealed = octets(found[1]) if found else None
    recipient = ring.unseal(sealed, _PIXEL) if sealed else None
    return None if recipient is None else Visit(recipient=recipient, number=0, image=True)


def hosted(name: str, base: str) -> str:
    """The URL of a hosted image by its name: 32 characters of its hash, a dot, its type."""
    return f"{base}{IMAGE_PREFIX}{name}"


def hosted_name(url: str) -> str:
    """The name of the hosted image that a URL of that form leads to, else ""; whose host it is, is not looked at."""
    found = _HOSTED_URL.fullmatch(url)
    return found[1] if found else ""


def hosted_tracked(ring: Ring, recipient: bytes, number: int, name: str, base: str) -> str:
    """The URL of a hosted image that also records that `recipient` has seen it."""
    stem, _, suffix = name.partition(".")
    token = written(ring.seal(_payload(0, recipient, number, ""), _IMAGE, name.encode()))
    return f"{base}{IMAGE_PREFIX}{stem}-{token}.{suffix}"


def read_hosted(ring: Ring, path: bytes) -> HostedImage | None:
    """What a request for a hosted image asks for, or None where the path is no such."""
    found = _IMAGE_PATH.fullmatch(path)
    if found is None:
        return None
    name = f"{found[1].decode()}.{found[3].decode()}"
    if found[2] is None:
        return HostedImage(name=name, visit=None)
    sealed = octets(found[2])
    payload = ring.unseal(sealed, _IMAGE, name.encode()) if sealed else None
    if payload is None:
        return HostedImage(name=name, visit=None, forged=True)
    number, _ = _number(payload, 1 + RECIPIENT_LENGTH)
    return HostedImage(name=name, visit=Visit(recipient=payload[1 : 1 + RECIPIENT_LENGTH], number=number, image=True))


def _payload(flags: int, recipient: bytes, number: int, text: str) -> bytes:
    if number < 128:
        return b"%c%b%c%b" % (flags, recipient, number, text.encode("ascii"))
    return b"%c%b%c%c%b" % (flags, recipient, number & 127 | 128, number >> 7, text.encode("ascii"))


def _number(payload: bytes, at: int) -> tuple[int, int]:
    """A number below 32,768 and the place behind it: seven bits, and eight more where the first octet says so."""
    low = payload[at]
    return (low, at + 1) if low < 128 else (low & 127 | payload[at + 1] << 7, at + 2)
