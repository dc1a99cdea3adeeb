"""Messages as a mail program makes them of a template: the same tags, other words and other queries in each link.

A message is cut once at the words and numbers that may differ. Each message made of it then has other ones of the same
length in these places, so that all are of one size, and no transfer encoding is disturbed.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from random import Random

from bench.newsletter import WORDS

_VOCABULARY = sorted({*WORDS, *(word.capitalize() for word in WORDS)})
_WORDS: Mapping[tuple[int, bool], Sequence[bytes]] = {
    kind: [word.encode() for word in _VOCABULARY if (len(word), word[0].isupper()) == kind]
    for kind in {(len(word), word[0].isupper()) for word in _VOCABULARY}
}
_TEXT = rb"\b(?:%b)\b" % b"|".join(word.encode() for word in _VOCABULARY)
_NUMBER = rb"(?<=sample-)\d+(?=@)|(?<=id=3D)\d{4}|(?<=content=3D)\d{4}"
_LENGTH = rb"(?<=[ :])\d\d?(?=px)"


class Kind(Enum):
    """ONE: all messages are of one template. NEW: each is of a template of its own, no two have the same styles."""

    ONE = "one template"
    NEW = "a new template each"


class Template:
    """A message in quoted-printable that others are made of."""

    def __init__(self, message: bytes, kind: Kind) -> None:
        changing = rb"(%b|%b%b)" % (_TEXT, _NUMBER, b"|" + _LENGTH if kind is Kind.NEW else b"")
        header, _, body = re.sub(rb"(?<=\r\n\r\n)", b"\0", message, count=1).partition(b"\0")
        at = header.index(b"Message-ID:")
        # Of the header, nothing but the Message-ID differs.
        self._pieces = [header[:at], b"", *re.split(changing, header[at:]), b"", *re.split(changing, body)]
        self._words: dict[tuple[int, bool], list[int]] = {}
        self._numbers: list[int] = []
        self._lengths: list[int] = []
        for place in range(1, len(self._pieces), 2):
            piece = self._pieces[place]
            if not piece:
                continue
            if piece.isalpha():
                self._words.setdefault((len(piece), piece[:1].isupper()), []).append(place)
            elif len(piece) > 2:
                self._numbers.append(place)
            else:
                self._lengths.append(place)

    def message(self, chance: Random) -> bytes:
        """Another message of the template."""
        pieces = list(self._pieces)
        for kind, places in self._words.items():
            for place, word in zip(places, chance.choices(_WORDS[kind], k=len(places)), strict=True):
                pieces[place] = word
        for place in self._numbers:
            digits = len(pieces[place])
            pieces[place] = b"%d" % chance.randrange(10 ** (digits - 1), 10**digits)
        # Every place of one length gets the same other one, as in a template by another designer.
        lengths = {length: self._other(length, chance) for length in {pieces[place] for place in self._lengths}}
        for place in self._lengths:
            pieces[place] = lengths[pieces[place]]
        return b"".join(pieces)

    @staticmethod
    def _other(length: bytes, chance: Random) -> bytes:
        return b"%d" % (chance.randrange(10, 100) if len(length) > 1 else chance.randrange(1, 10))
