"""One HTML text while filters change it: the changes so far, as splices of the text that came.

Each filter sees what the ones before it have written, and what one of them wrote can be taken back whole.
"""

import re
from collections.abc import Iterable

from filters.mail.markup import decoded
from filters.mail.outline import Outline, Value

Splice = tuple[int, int, str]
"""Where it starts, where it ends, and what comes there instead."""

BLANKS = " \t\n\f\r"
EQUALS_SIGN = re.compile(r"[ \t\n\f\r]*=")
"""An attribute whose name begins with `=`: behind a blank that holds it apart from the one before it (13.2.5.32)."""


class Draft:
    """The text of one part and its splices. `unicode` tells that its characters beyond ASCII are what they seem to be."""

    def __init__(self, source: str, *, unicode: bool = True) -> None:
        self.source = source
        self.unicode = unicode
        self.outline = Outline(source)
        self._splices: dict[tuple[int, int], str] = {}
        self._values: dict[int, str] = {}

    def value(self, value: Value) -> str:
        """What a browser takes an attribute's value to be, with what was written so far."""
        written = self._values.get(value.value_start)
        return decoded(value.raw) if written is None else written

    def write(self, value: Value, text: str) -> None:
        """Makes `text`, printable ASCII without quotes and angle brackets, the value of an attribute that has one."""
        escaped = text.replace("&", "&amp;")
        self._values[value.value_start] = text
        self._splices[value.value_start, value.value_end] = escaped if value.quote else f'"{escaped}"'

    def remove(self, value: Value) -> None:
        """Takes an attribute out, with the blanks before it unless they are needed; it stays where others would be read anew."""
        if EQUALS_SIGN.match(self.source, value.end):
            return
        start, alone = value.start, self.source[value.end] in BLANKS or self.source[value.end] == ">"
        while alone and self.source[start - 1] in BLANKS:
            start -= 1
        self._splices[start, value.end] = ""

    def splice(self, splices: Iterable[Splice]) -> None:
        """Adds splices that no other filter makes: of style attributes, or of new elements."""
        self._splices.update(((start, end), text) for start, end, text in splices)

    def mark(self) -> tuple[dict[tuple[int, int], str], dict[int, str]]:
        """What there is now, to return to."""
        return dict(self._splices), dict(self._values)

    def restore(self, mark: tuple[dict[tuple[int, int], str], dict[int, str]]) -> None:
        """Takes back what was done since `mark`."""
        self._splices, self._values = dict(mark[0]), dict(mark[1])

    def splices(self) -> list[Splice]:
        """All splices in order."""
        return [(start, end, text) for (start, end), text in sorted(self._splices.items())]


def spliced(source: str, splices: Iterable[Splice]) -> str:
    """`source` with the splices done; they come in order and do not overlap."""
    parts: list[str] = []
    position = 0
    for start, end, text in splices:
        parts += source[position:start], text
        position = end
    parts.append(source[position:])
    return "".join(parts)
