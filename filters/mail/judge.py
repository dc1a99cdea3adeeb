"""The check of a changed HTML text by someone who does not trust who changed it.

Each splice must be one of four things, at a place that is found anew: a style attribute in a start tag; the value of a
link or image attribute; one of the marks with which senders tell that a link is not to be tracked, taken out; or the one
invisible picture, between two tags. Their texts cannot break out of where they are. So nothing else can have changed.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from filters.mail.draft import BLANKS, EQUALS_SIGN, Splice
from filters.mail.markup import lowered
from filters.mail.outline import Element, Outline, Value, value, values

MARKS = ("clicktracking", "data-pm-no-track", "data-no-track", "ses:no-track")
STYLE = re.compile(r' ?style="[\t\n\r !#-%\'-;=?-~]*(?:&(?:amp|lt|gt|quot|#[0-9]{1,7});[\t\n\r !#-%\'-;=?-~]*)*"')
_URL = r"https?://[A-Za-z0-9.:-]+/(?:[A-Za-z0-9._~+,;=:@!$?/%#-]|&amp;)*"
_VALUE = re.compile(_URL)
_QUOTED_VALUE = re.compile(f'"{_URL}"')
PIXEL = re.compile(f'<img src="{_URL}" width="1" height="1" alt="" style="[a-z0-9 !:;-]*">')


# Attributes of the old days and of Outlook's own drawing language count as well.
LINKS = frozenset(("a", "area", "v:line", "v:oval", "v:rect", "v:roundrect", "v:shape"))
IMAGES = frozenset(("img", "v:fill", "v:image", "v:imagedata"))
BACKGROUNDS = frozenset(("body", "table", "td", "th", "tr"))
_URL_ATTRIBUTES = (("href", LINKS), ("src", IMAGES), ("background", BACKGROUNDS))


def is_sound(splices: Sequence[Splice], outline: Outline) -> bool:
    """Whether the splices, in order, change nothing in the outline's text but what a filter may change."""
    return _Judge(outline).all_sound(splices)


class _Judge:
    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._source = outline.source
        self._conditionals = frozenset(outline.conditionals)
        self._styles: dict[str, bool] = {}
        self._comments: dict[int, list[Element]] = {}
        self._styled = -1
        self._pixels = 0

    def all_sound(self, splices: Sequence[Splice]) -> bool:
        previous = (-1, 0)
        name_ends = self._outline.name_ends
        for start, end, text in splices:
            if start < previous[1] or (start, end) == previous:
                return False
            number = bisect_right(name_ends, start) - 1
            if text.startswith((" style=", "style=")):
                sound = number > self._styled and self._is_style(number, start, end, text)
                self._styled = number
            else:
                sound = self._is_sound(number, start, end, text)
            if not sound:
                return False
            previous = (start, end)
        return self._pixels <= 1

    def _is_style(self, number: int, start: int, end: int, text: str) -> bool:
        own, at = self._outline.style(number), self._outline.name_ends[number]
        place = (at, at, " ") if own is None else (at + own.start, at + own.end, "s")
        if (start, end, text[0]) != place:
            return False
        if text not in self._styles:
            self._styles[text] = STYLE.fullmatch(text) is not None
        return self._styles[text]

    def _is_sound(self, number: int, start: int, end: int, text: str) -> bool:
        outline = self._outline
        if number >= 0:
            at, attributes = outline.name_ends[number], outline.attributes[number]
            if end <= at + len(attributes):
                return self._is_value(Element(lowered(outline.names[number]), attributes, at), start, end, text)
        inside = bisect_right(outline.others, (start, len(self._source))) - 1
        if inside >= 0 and outline.others[inside][0] < start < outline.others[inside][1]:
            comment = outline.others[inside]
            return comment in self._conditionals and self._in_comment(comment, start, end, text)
        return self._is_pixel(start, end, text)

    def _is_value(self, element: Element, start: int, end: int, text: str) -> bool:
        if not text:
            marks = [place for name, place in values(element).items() if name in MARKS and place.end == end]
            return element.name in LINKS and any(self._is_removal(start, place) for place in marks)
        for name, elements in _URL_ATTRIBUTES:
            place = value(element, name) if element.name in elements else None
            if place is not None and (place.value_start, place.value_end) == (start, end):
                pattern = _VALUE if place.quote else _QUOTED_VALUE
                return place.quote is not None and pattern.fullmatch(text) is not None
        return False

    def _is_removal(self, start: int, place: Value) -> bool:
        """Whether to take out what is from `start` to the end of an attribute leaves those beside it as they are."""
        source, end = self._source, place.end
        if start > place.start or source[start : place.start].strip(BLANKS) or EQUALS_SIGN.match(source, end):
            return False
        return start == place.start or source[end] in BLANKS or source[end] == ">"

    def _in_comment(self, comment: tuple[int, int], start: int, end: int, text: str) -> bool:
        elements = self._comments.get(comment[0])
        if elements is None:
            # Cut anew, as a text of its own behind the comment's `[if ...]>`.
            offset = self._source.index(">", *comment) + 1
            inner = Outline(self._source[offset : comment[1]])
            elements = [Element(name, text, at + offset) for name, text, at in inner.elements(LINKS | IMAGES | BACKGROUNDS)]
            self._comments[comment[0]] = elements
        place = bisect_right(elements, start, key=_place) - 1
        return place >= 0 and end < elements[place].end and self._is_value(elements[place], start, end, text)

    def _is_pixel(self, start: int, end: int, text: str) -> bool:
        self._pixels += 1
        if start != end or PIXEL.fullmatch(text) is None:
            return False
        if start < len(self._source):
            return self._source.startswith("<", start) and self._is_between_tokens(start)
        # Behind the last token: not inside one that the text ends in the middle of.
        last = Outline(f"{self._source}<hr>")
        return last.names[-1:] == ["hr"] and last.name_ends[-1] == start + len("<hr")

    def _is_between_tokens(self, place: int) -> bool:
        """Whether a `<` that is not inside one of the outline's `others` begins a token or is text."""
        outline, number = self._outline, bisect_right(self._outline.name_ends, place)
        if number < len(outline.names) and place > outline.name_ends[number] - len(outline.names[number]) - 1:
            return False
        before = bisect_left(outline.others, (place,)) - 1
        # The end tag of a raw text element stands behind it.
        return before < 0 or outline.others[before][1] != place or not self._source[outline.others[before][0] + 1].isalpha()


def _place(element: Element) -> int:
    return element.at
