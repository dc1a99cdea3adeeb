"""The answers of the tracking host; all but redirects and pictures are made once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]

CHUNK = 65_536  # octets of a picture that are handed on at once; what a slow visitor leaves of it is not copied

_COMMON = b"x-content-type-options: nosniff\r\n"
_TEXT = b"content-type: text/plain; charset=utf-8\r\n"
_NO_STORE = b"cache-control: no-store\r\n"
_FOREVER = b"cache-control: public, max-age=31536000, immutable\r\n"
# A picture is opened in a tab of its own, too: whatever it turns out to be there, it runs nothing and loads nothing.
_SANDBOX = b"content-security-policy: sandbox; default-src 'none'\r\n"
_TYPES = {"png": b"image/png", "jpg": b"image/jpeg", "gif": b"image/gif", "webp": b"image/webp"}


@dataclass(slots=True)  # neither frozen nor by keyword: one is made for each redirect, and that would take three times as long
class Answer:
    """One answer. `head` is the status line and the fields as they are sent; `close`: the connection ends with it."""

    head: bytes
    content: bytes = b""
    close: bool = False

    def messages(self) -> Iterator[Message]:
        """What an ASGI application sends."""
        status, *lines = self.head.removesuffix(b"\r\n").split(b"\r\n")
        fields = [tuple(line.split(b": ", 1)) for line in lines]
        if self.close:
            fields.append((b"connection", b"close"))
        yield {"type": "http.response.start", "status": int(status.split()[1]), "headers": fields}
        for at in range(0, len(self.content), CHUNK):
            yield {"type": "http.response.body", "body": self.content[at : at + CHUNK], "more_body": True}
        yield {"type": "http.response.body", "body": b""}


def redirect(destination: str) -> Answer:
    """302 to `destination`, exactly: ASCII without control characters."""
    return Answer(_REDIRECT % destination.encode("ascii"))


def picture(name: str, octets: bytes, *, keep: bool) -> Answer:
    """A hosted image, whose name is made of its content; `keep`: it may be kept for good, for it names no recipient."""
    kept = _FOREVER + _etag_field(name) if keep else _NO_STORE
    return _answer(b"200 OK", octets, b"content-type: %b\r\n" % _TYPES[name.rpartition(".")[2]], kept, _SANDBOX)


def unchanged(name: str) -> Answer:
    """304 for who has the hosted image already."""
    return Answer(b"HTTP/1.1 304 Not Modified\r\n" + _FOREVER + _etag_field(name) + _COMMON)


def text(content: bytes) -> Answer:
    """200 with a line of text, for a program."""
    return _answer(b"200 OK", content, _TEXT, _NO_STORE)


def etag(name: str) -> str:
    """The entity tag of a hosted image (RFC 9110 8.8.3)."""
    return f'"{name.partition(".")[0]}"'


def _etag_field(name: str) -> bytes:
    return b"etag: %b\r\n" % etag(name).encode()


def _answer(status: bytes, content: bytes, *fields: bytes, close: bool = False) -> Answer:
    head = (b"HTTP/1.1 %b\r\n" % status, *fields, b"content-length: %d\r\n" % len(content), _COMMON)
    return Answer(b"".join(head), content, close)


_REDIRECT = _answer(b"302 Found", b"", b"location: %b\r\n", _NO_STORE).head

# 1x1, transparent
_PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

PIXEL = _answer(b"200 OK", _PIXEL, b"content-type: image/gif\r\n", _NO_STORE, _SANDBOX)
YES = _answer(b"200 OK", b"yes\n", _TEXT, _NO_STORE)
ROBOTS = _answer(b"200 OK", b"User-agent: *\nDisallow: /\n", _TEXT, b"cache-control: max-age=86400\r\n")
NOT_FOUND = _answer(b"404 Not Found", b"There is nothing here.\n", _TEXT, _NO_STORE)
GONE = _answer(b"410 Gone", b"This link has been disabled.\n", _TEXT, _NO_STORE)
TOO_LONG = _answer(b"414 URI Too Long", b"This address is too long.\n", _TEXT, _NO_STORE)
TROUBLE = _answer(
    b"503 Service Unavailable", b"This does not work now; please try again.\n", _TEXT, _NO_STORE, b"retry-after: 10\r\n"
)
# Content may follow these, and is not read.
BAD_REQUEST = _answer(b"400 Bad Request", b"This request cannot be understood.\n", _TEXT, _NO_STORE, close=True)
NOT_ALLOWED = _answer(
    b"405 Method Not Allowed", b"This can only be opened.\n", _TEXT, _NO_STORE, b"allow: GET, HEAD\r\n", close=True
)
TOO_LARGE = _answer(b"413 Content Too Large", b"A request with content is not taken here.\n", _TEXT, _NO_STORE, close=True)
REFUSALS = {400: BAD_REQUEST, 413: TOO_LARGE}
