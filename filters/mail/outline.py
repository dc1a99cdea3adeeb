"""An HTML text cut at its start tags, and the style attributes in them: what inlining needs of a document, without a tree."""

import re

from filters.mail.declarations import written
from filters.mail.markup import ATTRIBUTE, TOKEN, decoded

SPACED_IMPORTANT = re.compile(r"![ \t\n\f\r]*important", re.IGNORECASE)
"""`!important` in the spellings that CSS allows; css-inline knows only this one."""

_USUAL_STYLE = re.compile(r"""(?:[^>"'=]*="[^"]*")*?[^>"'=]*[ \t\n\f\r](style="([^"]*)")""")
_REWRITTEN = re.compile(r'[!&"\xa0]')
_HIDDEN_TAG = re.compile(r"<[a-zA-Z/?]")
_OTHERWISE_READ = frozenset(("frameset", "math", "noscript", "select", "svg"))


class Outline:
    """A text cut at its start tags.

    Start tag number n is `<`, `names[n]`, `attributes[n]`, `>`, its name ends at `name_ends[n]`; `gaps[n]` stands before it,
    the last gap behind the last one. Comments are emptied, for to css-inline they do not matter. `hides_tags` tells that
    what looks like a tag is inside raw text or an end tag; `sheets` are the style elements, start tag and content.
    """

    __slots__ = ("_styles", "attributes", "gaps", "hides_tags", "name_ends", "names", "sheets")

    def __init__(self, source: str) -> None:
        self._styles: dict[str, StyleAttribute | None] = {}
        self.hides_tags = False
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.name_ends: list[int] = []
        self.gaps: list[str] = []
        self.sheets: list[str] = []
        add_name, add_attributes, add_end = self.names.append, self.attributes.append, self.name_ends.append
        pieces = iter(TOKEN.split(source))
        gap, position = "", 0
        for text, other, name, attributes, closed in zip(pieces, pieces, pieces, pieces, pieces, strict=False):
            if closed:
                position += len(text) + 1 + len(name)
                self.gaps.append(gap + text if gap else text)
                add_name(name)
                add_attributes(attributes)
                add_end(position)
                position += len(attributes) + 1
                gap = ""
            elif other:
                position += len(text) + 1 + len(other)
                if other.startswith("!--"):
                    gap += f"{text}<!---->"
                else:
                    gap += f"{text}<{other}"
                    self.hides_tags = self.hides_tags or _HIDDEN_TAG.search(other) is not None
                    if other[:5].lower() == "style":
                        self.sheets.append(other)
        self.gaps.append(gap + source[position:])

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


def _terse(style: str) -> str:
    """Without what css-inline adds to a style attribute whose declarations all stay."""
    return style.replace("; ", ";").replace(": ", ":").rstrip("; ")
