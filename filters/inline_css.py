"""Rules of a document's style sheets, written into the style attributes of the elements they match.

css-inline calculates, and writes nothing: it would rewrite every tag, lose doctypes, conditional comments and template
tokens. It gets a copy whose start tags carry a number each; of what it returns only the numbered `style` values are read,
and they are spliced into the text as it came. The style sheets stay, for `@media`, `:hover` and `@font-face`; for their sake
`!important` is left out of the inlined copy of a rule, which would otherwise beat every rule under `@media`.

A document that css-inline cannot do in time, or at all, is left as it is, with the reason.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from css_inline import CSSInliner

from filters.mail.declarations import well_formed, written
from filters.mail.markup import ATTRIBUTE, TOKEN, decoded
from filters.mail.workload import MAX_TAGS, TOO_MANY_TAGS, refusal

Splice = tuple[int, int, str]
"""Where it starts, where it ends, and what comes there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlined:
    """What inlining comes to: the splices in order, or the reason why there are none."""

    splices: tuple[Splice, ...] = ()
    skipped: str = ""


_SHEET = re.compile(
    r"<[sS][tT][yY][lL][eE](?=[ \t\n\f\r/>])[^<]*(?:<(?!/[sS][tT][yY][lL][eE][ \t\n\f\r/>])[^<]*)*",
)
_SPACED_IMPORTANT = re.compile(r"![ \t\n\f\r]*important", re.IGNORECASE)
_CALCULATOR = CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)
_UNSEEN = frozenset(("base", "BASE", "head", "HEAD", "link", "LINK", "meta", "META"))
_HIDDEN_TAG = re.compile(r"<[a-zA-Z/?]")
_OTHERWISE_READ = frozenset(("frameset", "math", "noscript", "select", "svg"))
_MARKERS = tuple(str(number) for number in range(707170717, 707170917, 10))
_MARKS = tuple(f' {_MARKERS[0]}="{number}"' for number in range(MAX_TAGS))
_STYLE_ATTRIBUTE = re.compile(r' ?style="[\t\n\r !#-%\'-;=?-~]*(?:&(?:amp|lt|gt|quot|#[0-9]{1,7});[\t\n\r !#-%\'-;=?-~]*)*"')
_GROWTH, _ROOM = 4, 200_000


def inline(source: str) -> Inlined:
    """The splices that inline the style sheets of `source`. Nothing that `source` may hold makes it raise."""
    sheets = _SHEET.findall(source)
    if not sheets:
        return Inlined(skipped="no style sheet")
    if source.count("<") > 5 * MAX_TAGS:
        return Inlined(skipped=TOO_MANY_TAGS)
    document = _Document(source)
    css = "".join(sheets)
    if document.is_doubtful(source):
        return Inlined(skipped="tags inside raw text or attributes, next to svg, math, select, frameset or noscript")
    if reason := refusal(source, css, document.names, document.attributes):
        return Inlined(skipped=reason)
    marks = _marks(source)
    try:
        splices = _Calculation(document, css, marks).splices()
    except _Unusable as reason:
        return Inlined(skipped=str(reason))
    return Inlined(splices=tuple(splices))


def spliced(source: str, splices: Iterable[Splice]) -> str:
    """`source` with the splices done; they come in order and do not overlap."""
    parts: list[str] = []
    position = 0
    for start, end, text in splices:
        parts += source[position:start], text
        position = end
    parts.append(source[position:])
    return "".join(parts)


def only_styles_changed(source: str, result: str, splices: Iterable[Splice]) -> bool:
    """Whether `result` is `source` but for style attributes: the check of `inline` by someone who does not trust it.

    Taking the splices out of `result` must give `source`; each must lie in a start tag of its own, where it replaces the
    style attribute or, if there is none, follows the name; and its text must be one attribute that nothing can break out of.
    """
    splices = tuple(splices)
    if not splices:
        return source == result
    document = _Document(source)
    owns: dict[str, _OwnStyle | None] = {}
    texts: dict[str, bool] = {}
    at = there = 0
    previous = -1
    for start, end, text in splices:
        number = bisect_right(document.name_ends, start) - 1
        if number <= previous:
            return False
        attributes, name_end = document.attributes[number], document.name_ends[number]
        own = owns[attributes] if attributes in owns else owns.setdefault(attributes, _OwnStyle.find(attributes))
        place = (name_end, name_end, " ") if own is None else (name_end + own.start, name_end + own.end, "s")
        if (start, end, text[:1]) != place:
            return False
        if not (texts[text] if text in texts else texts.setdefault(text, bool(_STYLE_ATTRIBUTE.fullmatch(text)))):
            return False
        if source[at:start] != result[there : there + start - at] or not result.startswith(text, there + start - at):
            return False
        there += start - at + len(text)
        at, previous = end, number
    return source[at:] == result[there:]


class _Unusable(Exception):
    """What css-inline returned is nothing to work with; the message is the reason."""


class _Document:
    """A text cut at its start tags.

    Start tag number n is `<`, `names[n]`, `attributes[n]`, `>`, its name ends at `name_ends[n]`; `gaps[n]` stands before it,
    the last gap behind the last one. Comments are emptied, for to css-inline they do not matter. `hides_tags` tells that
    what looks like a tag is inside raw text or an end tag.
    """

    __slots__ = ("attributes", "gaps", "hides_tags", "name_ends", "names")

    def __init__(self, source: str) -> None:
        self.hides_tags = False
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.name_ends: list[int] = []
        self.gaps: list[str] = []
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
        self.gaps.append(gap + source[position:])

    def is_doubtful(self, source: str) -> bool:
        """Whether css-inline's parser may see start tags that are not in `names`, so that nothing here bounds its work.

        It reads raw text elements otherwise inside these elements, and noscript as raw text; that is harmless as long as
        nothing that looks like a tag is inside raw text, attributes or end tags.
        """
        if _OTHERWISE_READ.isdisjoint({name.lower() for name in set(self.names)}):
            return False
        return self.hides_tags or "<![CDATA[" in source or any("<" in attributes for attributes in self.attributes)


def _inserted(style: str) -> str:
    """What to write into a tag without a style attribute; empty to leave it as it is."""
    text = written(style)
    return "" if text is None else f' style="{text}"'


class _OwnStyle:
    """The style attribute of a start tag, the first if there are several: its place among the attributes, its value."""

    __slots__ = ("end", "start", "texts", "value")

    def __init__(self, attribute: re.Match[str]) -> None:
        self.texts: dict[str, str] = {}
        self.start, self.end = attribute.span()
        group = attribute.lastindex or 1
        self.value = decoded(attribute[group]) if group > 1 else ""

    @classmethod
    def find(cls, attributes: str) -> "_OwnStyle | None":
        """That of the start tag with these `attributes`."""
        if "style" not in attributes and "style" not in attributes.lower():
            return None
        found = ATTRIBUTE.finditer(attributes)
        return next((cls(attribute) for attribute in found if attribute[1].lower() == "style"), None)

    def replaced(self, style: str) -> str:
        """What to write instead of this one where css-inline says `style`; empty to leave the tag as it is."""
        text = None if style in self._as_written_back() else written(style, self.value)
        return "" if text is None else f'style="{text}"'

    def _as_written_back(self) -> tuple[str, str, str]:
        """How css-inline writes a style attribute that no rule touched: escaped, or in raw text not."""
        value = _SPACED_IMPORTANT.sub("!important", self.value) if "!" in self.value else self.value
        return self.value, value, value.replace("&", "&amp;").replace('"', "&quot;").replace("\xa0", "&nbsp;")


class _Calculation:
    """One document on its way through css-inline."""

    def __init__(self, document: _Document, css: str, marks: tuple[str, Sequence[str]]) -> None:
        self._document = document
        self._marker, self._marks = marks
        self._spaced = css.count("!") != css.count("!important")

    def splices(self) -> list[Splice]:
        """The splices in order; raises _Unusable."""
        document = self._document
        names, name_ends, all_attributes = document.names, document.name_ends, document.attributes
        # Newsletters repeat themselves: what was thought over once is remembered.
        owns: dict[str, _OwnStyle | None] = {}
        inserted: dict[str, str] = {}
        splices: list[Splice] = []
        for number, style in sorted(self._styles().items()):
            attributes = all_attributes[number]
            if attributes in owns:
                own = owns[attributes]
            else:
                own = owns[attributes] = _OwnStyle.find(attributes)
            at = name_ends[number]
            if own is None:
                if (text := inserted.get(style)) is None:
                    text = inserted[style] = _inserted(style)
                if text and names[number] not in _UNSEEN:
                    splices.append((at, at, text))
            else:
                if (text := own.texts.get(style)) is None:
                    text = own.texts[style] = own.replaced(style)
                if text:
                    splices.append((at + own.start, at + own.end, text))
        return splices

    def _styles(self) -> dict[int, str]:
        """By number of the start tag, the style attribute as css-inline writes it."""
        try:
            html = self._run(self._marked())
        except ValueError:
            # A style attribute that is no list of declarations stops css-inline for the whole document. Without theirs,
            # and without a number, such elements keep it in the result.
            self._leave_broken_styles()
            try:
                html = self._run(self._marked())
            except ValueError as error:
                raise _Unusable("css-inline cannot read it") from error
        found = re.findall(rf' {self._marker}="([0-9]+)"(?: (?!style=)[^=]*="[^"]*")* style="([^"]*)"', html)
        # The parser clones misnested elements, number and all; the first is the one the tag stands for.
        return {int(number): style for number, style in reversed(found)}

    def _marked(self) -> str:
        document = self._document
        numbered = zip(document.gaps, document.names, self._marks, document.attributes, strict=False)
        tags = [f"{gap}<{name}{mark}{attributes}>" for gap, name, mark, attributes in numbered]
        return "".join(tags) + document.gaps[-1]

    def _leave_broken_styles(self) -> None:
        document = self._document
        marks = list(self._marks[: len(document.names)])
        for number, attributes in enumerate(document.attributes):
            own = _OwnStyle.find(attributes)
            if own and not well_formed(own.value):
                marks[number] = ""
                document.attributes[number] = f"{attributes[: own.start]} {attributes[own.end :]}"
        self._marks = marks

    def _run(self, html: str) -> str:
        if self._spaced:
            # css-inline knows only this spelling.
            html = _SPACED_IMPORTANT.sub("!important", html)
        try:
            result: str = _CALCULATOR.inline(html)
        except BaseException as panic:
            # A panic in Rust is no Exception.
            if type(panic).__name__ != "PanicException":
                raise
            raise _Unusable("css-inline panicked") from panic
        if len(result) > _GROWTH * len(html) + _ROOM:
            raise _Unusable("the result is too large")
        return result


def _marks(source: str) -> tuple[str, Sequence[str]]:
    """An attribute name that is nowhere in `source`, and that attribute with each number.

    It is all digits: no upper case, no reference by name. Should a hostile document hold all candidates, the last one does:
    a number that is not ours can only give an element another style of the sender's own.
    """
    marker = next((marker for marker in _MARKERS if marker not in source), _MARKERS[-1])
    return marker, _MARKS if marker == _MARKERS[0] else [f' {marker}="{number}"' for number in range(MAX_TAGS)]
