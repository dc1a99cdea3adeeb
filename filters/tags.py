"""Tags: the words a sender hangs on a message, to find it and its like by. The same rules wherever they are written."""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header

MAX_TAGS = 50
MAX_TAG = 128  # characters

# Also what shows as nothing or turns the text around it: controls, bidirectional marks, what could not be decoded.
_BAD_TAG = re.compile(r"[\s;\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffd\ud800-\udfff]")
_ENCODED_WORD = re.compile(r"=\?([^?]*)\?[bBqQ]\?[^?]*\?=")  # RFC 2047 2
_CHARSET = re.compile(r"utf-8|us-ascii|iso-8859-[0-9]{1,2}|windows-125[0-9]", re.IGNORECASE)
_MAX_ENCODED = 8_192  # characters of a field with encoded words; the library takes quadratic time for them


def read_tags(value: bytes) -> tuple[list[str], int]:
    """The tags in a field's text, and how many could not be used."""
    text = decoded(value)
    return ([], 1) if text is None else split_tags(text)


def split_tags(text: str) -> tuple[list[str], int]:
    """The tags in a text, a comma between them, and how many could not be used: inner blank, semicolon, control, too long."""
    words = [word for word in (part.strip() for part in text.split(",")) if word]
    good = [word for word in words if len(word) <= MAX_TAG and not _BAD_TAG.search(word)]
    return good, len(words) - len(good)


def decoded(value: bytes) -> str | None:
    """A field's text with its encoded words read (RFC 2047), or None where they cannot be."""
    text = value.decode("utf-8", "replace")
    if "=?" not in text:
        return text
    # Python would try any of its codecs, and some take minutes.
    if len(text) > _MAX_ENCODED or not all(map(_CHARSET.fullmatch, _ENCODED_WORD.findall(text))):
        return None
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return None
