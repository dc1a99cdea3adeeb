"""An HTML text cut at its start tags, and the attributes in them: what filters need of a document, without a tree.

A text is cut once, and all filters that change it work on the same cuts.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from filters.mail.declarations import written
from filters.mail.markup import ATTRIBUTE, TOKEN, decoded, lowered

SPACED_IMPORTANT = re.compile(r"![ \t\n\f\r]*important", re.IGNORECASE)
"""`!important` in the spellings that CSS allows; css-inline knows only this one."""

_USUAL_STYLE = re.compile(r"""(?:[^>"'=]*="[^"]*")*?[^>"'=]*[ \t\n\f\r](style="([^"]*)")""")
_URL_NAMES = ("background", "href", "src")
_WITH_VALUE = {name: re.compile(rf"{name}[ \t\n\f\r]*=", re.IGNORECASE) for name in _URL_NAMES}
_USUAL_VALUES = {name: re.compile(rf"""(?:[^>"'=]*="[^"]*")*?[^>"'=]*[ \t\n\f\r]({name}="([^"]*)")""") for name in _URL_NAMES}
_REWRITTEN = re.compile(r'[!&"\xa0]')
_HIDDEN_TAG = re.compile(r"<[a-zA-Z/?]")
_END_OF_BODY = re.compile(r"</(?:[bB][oO][dD][yY]|[hH][tT][mM][lL])(?=[ \t\n\f\r/>])")
_CONDITIONAL = "!--[if"
_OTHERWISE_READ = frozenset(("frameset", "math", "noscript", "select", "svg"))


class Element(NamedTuple):
    """A start tag: its name in lower case, its attributes as written, and the place in the text where they begin."""

    name: str
    attributes: str
    at: int

    @property
    def end(self) -> int:
        """The place behind the `>`."""
        return self.at + len(self.attributes) + 1


class Value(NamedTuple):
    """An attribute of an element: name to closing quote at `[start:end]` of the text, its value without quotes at
    `[value_start:value_end]`, as written in `raw`. `quote` is `"`, `'`, or empty for an unquoted value; None: no value.
    """

    start: int
    end: int
    value_start: int
    value_end: int
    quote: str | None
    raw: str


_QUOTES = (None, '"', "'", "")


class Outline:
    """A text cut at its start tags.

    Start tag number n is `<`, `names[n]`, `attributes[n]`, `>`, its name ends at `name_ends[n]`. `hides_tags` tells that what
    looks like a tag is inside raw text or an end tag; `sheets` are the style elements, start tag and content.
    `others` are the spans of the other tokens: comments, raw text elements, some end tags, a start tag that the text ends in
    the middle of; `conditionals` are those of them that Outlook reads, `<!--[if mso]>`. `pieces` is the text as TOKEN
    cuts it, `tail` what is behind the last whole token.
    """

    __slots__ = (
        "_commented", "_lowered", "_styles", "attributes", "conditionals",
        "hides_tags", "name_ends", "names", "others", "pieces", "sheets",
        "source", "tail",
    )  # fmt: skip

    def __init__(self, source: str) -> None:
        self.source = source
        self.others: list[tuple[int, int]] = []
        self.conditionals: list[tuple[int, int]] = []
        self._commented: list[Element] | None = None
        self._lowered: list[str] | None = None
        self._styles: dict[str, StyleAttribute | None] = {}
        self.hides_tags = False
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.name_ends: list[int] = []
        self.sheets: list[str] = []
        add_name, add_attributes, add_end = self.names.append, self.attributes.append, self.name_ends.append
        self.pieces = TOKEN.split(source)
        pieces = iter(self.pieces)
        position = 0
        for text, other, name, attributes, closed in zip(pieces, pieces, pieces, pieces, pieces, strict=False):
            if closed:
                position += len(text) + 1 + len(name)
                add_name(name)
                add_attributes(attributes)
                add_end(position)
                position += len(attributes) + 1
            elif other:
                position += len(text) + 1 + len(other)
                self.others.append((position - 1 - len(other), position))
                if other.startswith("!--"):
                    if other[: len(_CONDITIONAL)].lower() == _CONDITIONAL and ">" in other:
                        self.conditionals.append(self.others[-1])
                else:
                    self.hides_tags = self.hides_tags or _HIDDEN_TAG.search(other) is not None
                    if other[:5].lower() == "style":
                        self.sheets.append(other)
            else:
                self.others.append((position + len(text), len(source)))
        self.tail = source[position:]

    def elements(self, wanted: frozenset[str]) -> list[Element]:
        """The start tags of those names (lower case) in order, also those in comments that Outlook reads."""
        if self._lowered is None:
            # As nearly all mail is written: nothing to do then.
            self._lowered = self.names if "".join(self.names).islower() else [lowered(name) for name in self.names]
        attributes, ends = self.attributes, self.name_ends
        numbered = enumerate(self._lowered)
        found = [Element(name, attributes[number], ends[number]) for number, name in numbered if name in wanted]
        if self.conditionals:
            if self._commented is None:
                self._commented = list(self._conditional_elements())
            inside = [element for element in self._commented if element.name in wanted]
            if inside:
                found = sorted(found + inside, key=_place)
        return found

    def _conditional_elements(self) -> Iterator[Element]:
        source = self.source
        for start, end in self.conditionals:
            for found in TOKEN.finditer(source, source.index(">", start, end) + 1, end - len("-->")):
                if found.lastindex == 4:
                    yield Element(lowered(found[2]), found[3], found.end(2))

    def conditional_at(self, place: int) -> tuple[int, int] | None:
        """The comment for Outlook that `place` is inside of."""
        number = bisect_right(self.conditionals, (place,)) - 1
        return self.conditionals[number] if number >= 0 and place < self.conditionals[number][1] else None

    def end_of_body(self) -> int:
        """The place before the last end tag of body, else of html, that a browser sees as one; else the end of the text.

        Of a text that ends in the middle of a token, the end is before that token.
        """
        position, best = len(self.source), -1
        pieces = self.pieces
        for place in range(len(pieces) - 1, -1, -5):
            text = pieces[place]
            position -= len(text)
            for found in reversed(list(_END_OF_BODY.finditer(text))):
                if found[0][2] in "bB":
                    return position + found.start()
                best = max(best, position + found.start())
            if place:
                other, name, attributes, closed = pieces[place - 4 : place]
                position -= 1 + len(other if other is not None else f"{name}{attributes}{closed or ''}")
                if other and (end := _END_OF_BODY.match(f"<{other}")):
                    if end[0][2] in "bB":
                        return position
                    best = max(best, position)
        return best if best >= 0 else self._end()

    def _end(self) -> int:
        start, end = self.others[-1] if self.others else (0, 0)
        if end < len(self.source):
            return len(self.source)
        last = TOKEN.match(f"{self.source[start:]}<")
        if last is None or last.end() <= end - start:
            return end
        # The end tag of a raw text element: one that does not end does not end that either.
        before = self.others[-2] if len(self.others) > 1 else (0, 0)
        return before[0] if before[1] == start and self.source[before[0] + 1].isalpha() else start

    def style(self, number: int) -> "StyleAttribute | None":
        """The style attribute of a start tag. Newsletters repeat themselves: the same attributes are looked at once."""
        attributes = self.attributes[number]
        if attributes not in self._styles:
            self._styles[attributes] = StyleAttribute.find(attributes)
        return self._styles[attributes]

    def is_doubtful(self, source: str) -> bool:
        """Whether css-inline's parser may see start tags that are not in `names`, so that nothing here bounds its work.

        It reads raw text elements otherwise inside these elements, and noscript as raw text; that is harmless as long as
        nothing that looks like a tag is inside raw text, attributes or end tags.
        """
        if _OTHERWISE_READ.isdisjoint({name.lower() for name in set(self.names)}):
            return False
        return self.hides_tags or "<![CDATA[" in source or any("<" in attributes for attributes in self.attributes)


class StyleAttribute:
    """The style attribute of a start tag, the first if there are several: its place among the attributes, its value."""

    __slots__ = ("end", "start", "texts", "value")

    def __init__(self, start: int, end: int, raw: str) -> None:
        self.start, self.end = start, end
        self.value = decoded(raw)
        self.texts: dict[str, str] = {}

    @classmethod
    def find(cls, attributes: str) -> "StyleAttribute | None":
        """That of the start tag with these `attributes`."""
        mentioned = attributes.lower().count("style")
        if mentioned == 1 and (usual := _USUAL_STYLE.match(attributes)):
            return cls(usual.start(1), usual.end(1), usual[2])
        for found in ATTRIBUTE.finditer(attributes) if mentioned else ():
            if found[1].lower() == "style":
                return cls(*found.span(), found[found.lastindex or 1] if found.lastindex != 1 else "")
        return None

    def replaced(self, style: str) -> str:
        """What to write instead of this one where css-inline says `style`; empty to leave the tag as it is."""
        if style == self.value or style in self._as_written_back() or _terse(style) == _terse(self.value):
            return ""
        text = written(style, self.value)
        return "" if text is None or _terse(decoded(text)) == _terse(self.value) else f'style="{text}"'

    def _as_written_back(self) -> tuple[str, ...]:
        """How css-inline writes a style attribute that no rule touched: escaped, or in raw text not."""
        if _REWRITTEN.search(self.value) is None:
            return ()
        value = SPACED_IMPORTANT.sub("!important", self.value)
        return value, value.replace("&", "&amp;").replace('"', "&quot;").replace("\xa0", "&nbsp;")


def values(element: Element) -> dict[str, Value]:
    """The attributes of an element by their names in lower case; of several with one name the first (13.2.5.33)."""
    at = element.at
    found: dict[str, Value] = {}
    for match in ATTRIBUTE.finditer(element.attributes):
        name = lowered(match[1])
        if name not in found:
            group = match.lastindex or 1
            start, end = match.span(group) if group > 1 else (match.end(), match.end())
            raw = match[group] if group > 1 else ""
            found[name] = Value(at + match.start(), at + match.end(), at + start, at + end, _QUOTES[group - 1], raw)
    return found


def value(element: Element, name: str) -> Value | None:
    """The attribute of that name, in lower case, if it has a value; what `values` has under the name, and faster."""
    attributes = element.attributes
    if f"{name}=" not in attributes and _WITH_VALUE[name].search(attributes) is None:
        return None
    if attributes.lower().count(name) == 1 and (usual := _USUAL_VALUES[name].match(attributes)):
        at = element.at
        return Value(at + usual.start(1), at + usual.end(1), at + usual.start(2), at + usual.end(2), '"', usual[2])
    return values(element).get(name)


def _place(element: Element) -> int:
    return element.at


def _terse(style: str) -> str:
    """Without what css-inline adds to a style attribute whose declarations all stay."""
    return style.replace("; ", ";").replace(": ", ":").rstrip("; ")
