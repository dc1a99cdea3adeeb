"""The relaxed form of a message that DKIM signs (RFC 6376 3.4)."""

import hashlib
import re
from collections.abc import Iterable, Iterator

_BLANKS = re.compile(rb"   *")  # two literal spaces first: `re` looks for them much faster than for " {2,}" or "  +"


def relaxed_fields(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Header fields in relaxed form (RFC 6376 3.4.2): name in lower case, and value with its CRLF."""
    return [(name.lower().rstrip(), _squeezed(_unfolded(value)).strip() + b"\r\n") for name, value in fields]


def relaxed_body_hash(body: bytes, piece: int = 1 << 16) -> bytes:
    """SHA-256 of the body in relaxed form (RFC 6376 3.4.4): linear in its size, and in pieces of about `piece` octets, so
    without a copy.

    A last line without CRLF counts as one with it, which SMTP adds.
    """
    digest = hashlib.sha256()
    empty = True
    line_ends = 0  # at the end of what was read; they count when more follows
    for lines in _in_pieces(body, piece):
        if b" " in lines or b"\t" in lines:
            lines = _squeezed(lines).replace(b" \r\n", b"\r\n")
        end = _without_line_ends(lines)
        if end:
            if line_ends:
                digest.update(b"\r\n" * line_ends)
            digest.update(lines if end == len(lines) else memoryview(lines)[:end])
            empty, line_ends = False, 0
        line_ends += (len(lines) - end) // 2
    if not empty:
        digest.update(b"\r\n")
    return digest.digest()


def _in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    """The body in pieces of whole lines, the last one with its CRLF."""
    position, end = 0, len(body)
    while position < end:
        stop = position + size
        if stop < end:
            stop = body.rfind(b"\n", position, stop) + 1 or body.find(b"\n", stop) + 1 or end
        piece = body[position:stop]
        position = stop
        yield piece if position < end or piece.endswith(b"\r\n") else piece + b"\r\n"


def _without_line_ends(lines: bytes) -> int:
    """The size of `lines` without the CRLFs at its end."""
    end = len(lines.rstrip(b"\r\n"))
    if lines[end:] == b"\r\n" * ((len(lines) - end) // 2):
        return end
    end = len(lines)  # a bare CR or LF among them is no line end
    while lines.endswith(b"\r\n", 0, end):
        end -= 2
    return end


def _unfolded(value: bytes) -> bytes:
    return value.replace(b"\r\n", b"").replace(b"\n", b"") if b"\n" in value else value


def _squeezed(text: bytes) -> bytes:
    """Each run of blanks as one space."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    return b" ".join(_BLANKS.split(text))  # faster than `sub`
