"""Content transfer encodings (RFC 2045 6): exact in both directions, and what is written survives any relay.

Encoded text is ASCII without NUL, its lines end with CRLF and have at most 76 characters, and none begins with "From " or
with a lone dot.
"""

import binascii
import re

LINE_LIMIT = 998  # RFC 5322 2.1.1: octets of a line without its CRLF
ENCODED_LINE = 76  # RFC 2045 6.7, 6.8
ENCODED = frozenset({"quoted-printable", "base64"})
PLAIN = frozenset({"", "7bit", "8bit", "binary"})

_PADDING = re.compile(rb"[ \t]+(?=\r\n|\Z)")
_DAMAGED = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r\n|\Z)")
_BLANKS = b" \t\r\n"


def decode(data: bytes, encoding: str) -> bytes:
    """The content behind `data`. Raises ValueError where the encoding is unknown, or `data` has no single meaning in it."""
    if encoding in PLAIN:
        return data
    if encoding == "base64":
        return binascii.a2b_base64(data.translate(None, _BLANKS), strict_mode=True)
    if encoding == "quoted-printable":
        # RFC 2045 6.7 rule 3: blanks at the end of a line were added on the way.
        if b" \r\n" in data or (b"\t" in data and b"\t\r\n" in data) or data.endswith((b" ", b"\t")):
            data = _PADDING.sub(b"", data)
        if _DAMAGED.search(data):
            raise ValueError("an equals sign that begins no code of quoted-printable")
        return binascii.a2b_qp(data)
    raise ValueError("unknown transfer encoding")


def encode(data: bytes, encoding: str) -> bytes:
    """`data` in quoted-printable or base64, without a final line end of its own."""
    return _base64(data) if encoding == "base64" else _quoted_printable(data)


def without_hyphens(text: bytes) -> bytes:
    """Quoted-printable `text` with a code for each hyphen that begins a line, so that no line can end a part."""
    return re.sub(rb"(?m)^-+", lambda match: b"=2D=\r\n" * len(match[0]), text)


def has_bare_line_end(data: bytes) -> bool:
    """Whether a CR or an LF stands alone."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs


def long_line(data: bytes, start: int = 0, end: int | None = None, limit: int = LINE_LIMIT) -> int:
    """Where the first line of data[start:end] with more than `limit` octets begins, or -1. `start` begins a line.

    Looks at one LF in `limit` octets, so it costs next to nothing.
    """
    end = len(data) if end is None else end
    window = limit + 2
    while end - start > limit:
        found = data.rfind(b"\n", start, min(start + window, end))
        if found < 0:
            return start
        start = found + 1
    return -1


def _base64(data: bytes) -> bytes:
    # A thousand lines at a time: a list of all lines takes twice the memory of the text.
    whole = ENCODED_LINE * 3 // 4 * 1000
    blocks = [_base64_lines(data[at : at + whole]) for at in range(0, len(data), whole)]
    return b"\r\n".join(blocks)


def _base64_lines(data: bytes) -> bytes:
    text = binascii.b2a_base64(data, newline=False)
    return b"\r\n".join([text[at : at + ENCODED_LINE] for at in range(0, len(text), ENCODED_LINE)])


def _quoted_printable(data: bytes) -> bytes:
    # binascii takes the line end from the data, and LF where that has none.
    if has_bare_line_end(data):
        lines = [binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in data.split(b"\r\n")]
        return _protected(_broken(b"\r\n".join(lines)))
    text = binascii.b2a_qp(data)
    if b"\r\n" not in data:
        text = text.replace(b"=\n", b"=\r\n")
    # It writes a blank at the end of a line as a code after it has counted the characters of the line.
    if data.endswith((b" ", b"\t")) or b" \r\n" in data or (b"\t" in data and b"\t\r\n" in data):
        text = _broken(text)
    return _protected(text)


def _protected(text: bytes) -> bytes:
    """`text` without lines that begin with "From ", which a mailbox file changes, and lone dots, which end mail in SMTP."""
    if text.startswith(b"From ") or b"\nFrom " in text:
        text = re.sub(rb"(?m)^(?:From )+", lambda match: b"=46rom=20=\r\n" * (len(match[0]) // 5), text)
    if b"\n.\r\n" in text or text.startswith(b".\r\n") or text.endswith(b"\n."):
        text = re.sub(rb"(?m)^\.(?=\r\n|\Z)", b"=2E", text)
    return text


def _broken(text: bytes) -> bytes:
    """Quoted-printable with its long lines broken, never inside a code."""
    return b"\r\n".join([line if len(line) <= ENCODED_LINE else _broken_line(line) for line in text.split(b"\r\n")])


def _broken_line(line: bytes) -> bytes:
    pieces = []
    while len(line) > ENCODED_LINE:
        cut = ENCODED_LINE - 1
        code = line.rfind(b"=", cut - 2, cut)
        cut = cut if code < 0 else code
        pieces.append(line[:cut] + b"=\r\n")
        line = line[cut:]
    return b"".join([*pieces, line])
