"""The parts of a message: where they are, what they hold, and new content for some of them.

Changes are splices: bytes outside the changed parts are those that came.
"""

import re
from collections.abc import Mapping

from filters.mail import transfer
from filters.mail.message import Field, Message
from filters.mail.structure import Multipart, Part, Span, Structure, scan

__all__ = ["Multipart", "Part", "Span", "Structure", "content", "replace", "scan"]

_ENCODING_FIELD = re.compile(rb"(?im)^content-transfer-encoding:[^\n]*(?:\n[ \t][^\n]*)*\n")
_ENCODING = b"Content-Transfer-Encoding"


def content(message: Message, part: Part) -> bytes:
    """The content of a part of `message`, its transfer encoding removed.

    Raises ValueError where the encoding is unknown or its text has no single meaning.
    """
    return transfer.decode(message.body[slice(*part.body)], part.encoding)


def replace(message: Message, changes: Mapping[Part, bytes]) -> Message:
    """`message` with that content in those parts, and every other byte as it was.

    A part keeps quoted-printable and base64; other content stays as it is where that is safe on any way, or becomes
    quoted-printable (text) or base64. Raises ValueError for a part that is not to be edited.
    """
    fields, pieces, position = message.fields, list[bytes | memoryview](), 0
    body = memoryview(message.body)
    for part, data in sorted(changes.items(), key=_place):
        if part.opaque:
            raise ValueError(f"this part is not to be edited: {part.opaque}")
        encoding, encoded = _encoded(part, data)
        if part.header is not None:
            header = message.body[slice(*part.header)]
            renamed = header if encoding == part.encoding else _header_with(header, encoding)
            pieces += body[position : part.header.start], renamed, body[part.header.end : part.body.start]
        elif encoding != part.encoding:
            fields = _fields_with(fields, encoding)
        pieces.append(encoded)
        position = part.body.end
    return Message(fields, b"".join([*pieces, body[position:]]))


def _place(change: tuple[Part, bytes]) -> int:
    return change[0].body.start


def _encoded(part: Part, data: bytes) -> tuple[str, bytes]:
    """The transfer encoding for `data` in the place of `part`, and `data` in it."""
    if part.encoding in transfer.PLAIN and _safe(part, data):
        return part.encoding, data
    encoding = part.encoding
    if encoding not in transfer.ENCODED:
        encoding = "quoted-printable" if part.text else "base64"
    encoded = transfer.encode(data, encoding)
    if encoding == "quoted-printable":
        if _has_delimiter(part, encoded):
            encoded = transfer.without_hyphens(encoded)
        if part.header is None and encoded and not encoded.endswith(b"\r\n"):
            encoded += b"=\r\n"  # SMTP ends every body with CRLF; this one is not content.
    elif part.header is None:
        encoded += b"\r\n"
    return encoding, encoded


def _safe(part: Part, data: bytes) -> bool:
    """Whether `data` can stand in the body as it is."""
    if not data.isascii() or b"\0" in data or transfer.has_bare_line_end(data) or transfer.long_line(data) >= 0:
        return False
    if part.header is None:
        return not data or data.endswith(b"\r\n")
    return not _has_delimiter(part, data)


def _has_delimiter(part: Part, text: bytes) -> bool:
    if b"\n--" not in text and not text.startswith(b"--"):
        return False
    lines = [b"--" + parent.boundary for parent in part.parents]
    return any(text.startswith(line) or b"\n" + line in text for line in lines)


def _header_with(header: bytes, encoding: str) -> bytes:
    """A header in the body with that transfer encoding."""
    line = b"%b: %b\r\n" % (_ENCODING, encoding.encode())
    renamed, found = _ENCODING_FIELD.subn(line, header)
    return renamed if found else header + line


def _fields_with(fields: tuple[Field, ...], encoding: str) -> tuple[Field, ...]:
    """The message's own header with that transfer encoding, which needs a MIME-Version (RFC 2045 4)."""
    names = {field.name.lower() for field in fields}
    line = Field(_ENCODING, b" " + encoding.encode())
    if _ENCODING.lower() in names:
        fields = tuple(line if field.name.lower() == _ENCODING.lower() else field for field in fields)
    else:
        fields = (*fields, line)
    return fields if b"mime-version" in names else (*fields, Field(b"MIME-Version", b" 1.0"))
