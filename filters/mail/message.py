"""A message as the bytes that came: header fields in order, and the body (RFC 5322 2.1).

Nothing is decoded, folded or normalised, so a field or a part that no filter changes leaves as it came.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\n]*(?:\n[ \t]|\Z|(?=\n)))*)(?:\n|\Z)")
_LINE_END = re.compile(rb"(?<!\r)\n")
_WRITTEN_ANEW = (b"date", b"message-id")  # by Postfix, at each try (always_add_missing_headers)


class Field(NamedTuple):
    """One header field (RFC 5322 2.2). `value` is all that follows the colon, its blanks and folds (CRLF) included."""

    name: bytes
    value: bytes

    @property
    def text(self) -> bytes:
        """The value unfolded (RFC 5322 2.2.3) and without outer blanks."""
        return self.value.replace(b"\r\n", b"").strip()


@dataclass(frozen=True, slots=True)
class Message:
    """Header fields in their order, and the body. Lines end with CRLF."""

    fields: tuple[Field, ...]
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The message in a file, read as Postfix reads it: the header ends at the first line that is no field.

        Bare LF line ends become CRLF.
        """
        raw = _LINE_END.sub(b"\r\n", raw)
        fields, position = [], 0
        while match := _FIELD.match(raw, position):
            fields.append(Field(match[1], match[2].removesuffix(b"\r")))
            position = match.end()
        if raw.startswith(b"\r\n", position):
            position += 2
        return cls(tuple(fields), raw[position:])

    def lasting(self) -> Iterator[bytes]:
        """What is the same when a client sends the message again: all but the fields that are written anew if it has none."""
        yield from (b"%b:%b\r\n" % field for field in self.fields if field.name.lower() not in _WRITTEN_ANEW)
        yield self.body

    def __bytes__(self) -> bytes:
        header = b"".join(b"%b:%b\r\n" % field for field in self.fields)
        return b"%b\r\n%b" % (header, self.body)

    def all(self, name: bytes) -> Iterator[Field]:
        """The fields of that name, whatever its case, in order."""
        wanted = name.lower()
        return (field for field in self.fields if field.name.lower() == wanted)

    def first(self, name: bytes) -> Field | None:
        """The first field of that name, or None."""
        return next(self.all(name), None)
