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
from dataclasses import dataclass, field

from css_inline import CSSInliner

from filters.job import Job, Site
from filters.mail.declarations import well_formed, written
from filters.mail.outline import SPACED_IMPORTANT, Outline, StyleAttribute
from filters.mail.workload import MAX_SECONDS, MAX_TAGS, TOO_MANY_TAGS, refusal
from filters.rewrite import Rewritten, Unsound, rewrite_html

Splice = tuple[int, int, str]
"""Where it starts, where it ends, and what comes there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlined:
    """What inlining comes to: the splices in order, or the reason why there are none; and how the text was read."""

    splices: tuple[Splice, ...] = ()
    skipped: str = ""
    document: Outline | None = field(default=None, repr=False, compare=False)


_STYLE = re.compile(r"<[sS][tT][yY][lL][eE](?=[ \t\n\f\r/>])")
_CALCULATOR = CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)
_UNSEEN = frozenset(("base", "BASE", "head", "HEAD", "link", "LINK", "meta", "META"))
_MARKERS = tuple(str(number) for number in range(707170717, 707170917, 10))
_MARKS = tuple(f' {_MARKERS[0]}="{number}"' for number in range(MAX_TAGS))
_STYLE_ATTRIBUTE = re.compile(r' ?style="[\t\n\r !#-%\'-;=?-~]*(?:&(?:amp|lt|gt|quot|#[0-9]{1,7});[\t\n\r !#-%\'-;=?-~]*)*"')
_GROWTH, _ROOM = 4, 200_000


def inline_css(job: Job, _site: Site) -> Job:
    """The job with the rules of its style sheets copied into the style attributes of its HTML."""
    return rewrite_html(job, "inlinecss", _rewritten)


def _rewritten(source: str, parts: int) -> Rewritten:
    inlined = inline(source, MAX_SECONDS / parts)
    text = spliced(source, inlined.splices)
    if text == source:
        return Rewritten(None, inlined.skipped or "no rule of a style sheet changes anything")
    if not only_styles_changed(source, text, inlined.splices, inlined.document):
        raise Unsound("more than style attributes would change")
    return Rewritten(text)


def inline(source: str, seconds: float = MAX_SECONDS) -> Inlined:
    """The splices that inline the style sheets of `source`. Nothing that `source` may hold makes it raise.

    A document that css-inline would take more than about `seconds` for is skipped.
    """
    if _STYLE.search(source) is None:
        return Inlined(skipped="no style sheet")
    if source.count("<") > 5 * MAX_TAGS:
        return Inlined(skipped=TOO_MANY_TAGS)
    document = Outline(source)
    css = "".join(document.sheets)
    if not css:
        return Inlined(skipped="no style sheet")
    if document.is_doubtful(source):
        return Inlined(skipped="tags inside raw text or attributes, next to svg, math, select, frameset or noscript")
    if reason := refusal(source, css, document.names, document.attributes, seconds):
        return Inlined(skipped=reason)
    if (marks := _marks(source)) is None:
        return Inlined(skipped="no attribute name is free")
    try:
        splices = _Calculation(document, css, marks).splices()
    except _Unusable as reason:
        return Inlined(skipped=str(reason))
    return Inlined(splices=tuple(splices), document=document)


def spliced(source: str, splices: Iterable[Splice]) -> str:
    """`source` with the splices done; they come in order and do not overlap."""
    parts: list[str] = []
    position = 0
    for start, end, text in splices:
        parts += source[position:start], text
        position = end
    parts.append(source[position:])
    return "".join(parts)


def only_styles_changed(source: str, result: str, splices: Iterable[Splice], document: Outline | None = None) -> bool:
    """Whether `result` is `source` but for style attributes: the check of `inline` by someone who does not trust it.

    The splices must make `result` of `source`; each must lie in a start tag of its own, where it replaces the
    style attribute or, if there is none, follows the name; and its text must be one attribute that nothing can break out of.
    `document` is the outline of `source` where it is at hand.
    """
    splices = tuple(splices)
    if spliced(source, splices) != result:
        return False
    document = document or Outline(source)
    texts: dict[str, bool] = {}
    previous = -1
    for start, end, text in splices:
        number = bisect_right(document.name_ends, start) - 1
        if number <= previous:
            return False
        previous = number
        own, name_end = document.style(number), document.name_ends[number]
        place = (name_end, name_end, " ") if own is None else (name_end + own.start, name_end + own.end, "s")
        if (start, end, text[:1]) != place:
            return False
        if not (texts[text] if text in texts else texts.setdefault(text, bool(_STYLE_ATTRIBUTE.fullmatch(text)))):
            return False
    return True


class _Unusable(Exception):
    """What css-inline returned is nothing to work with; the message is the reason."""


def _inserted(style: str) -> str:
    """What to write into a tag without a style attribute; empty to leave it as it is."""
    text = written(style)
    return "" if text is None else f' style="{text}"'


class _Calculation:
    """One document on its way through css-inline."""

    def __init__(self, document: Outline, css: str, marks: tuple[str, Sequence[str]]) -> None:
        self._document = document
        self._attributes = document.attributes
        self._marker, self._marks = marks
        self._spaced = css.count("!") != css.count("!important")

    def splices(self) -> list[Splice]:
        """The splices in order; raises _Unusable."""
        document = self._document
        names, name_ends = document.names, document.name_ends
        # What was thought over once is remembered.
        inserted: dict[str, str] = {}
        splices: list[Splice] = []
        for number, style in sorted(self._styles().items()):
            own = document.style(number)
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
        numbered = zip(document.gaps, document.names, self._marks, self._attributes, strict=False)
        tags = [f"{gap}<{name}{mark}{attributes}>" for gap, name, mark, attributes in numbered]
        return "".join(tags) + document.gaps[-1]

    def _leave_broken_styles(self) -> None:
        marks, kept = list(self._marks[: len(self._attributes)]), list(self._attributes)
        for number, attributes in enumerate(self._attributes):
            own = StyleAttribute.find(attributes)
            if own and not well_formed(own.value):
                marks[number] = ""
                kept[number] = f"{attributes[: own.start]} {attributes[own.end :]}"
        self._marks, self._attributes = marks, kept

    def _run(self, html: str) -> str:
        if self._spaced:
            # css-inline knows only this spelling.
            html = SPACED_IMPORTANT.sub("!important", html)
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


def _marks(source: str) -> tuple[str, Sequence[str]] | None:
    """An attribute name that is nowhere in `source`, and that attribute with each number; None if none is free.

    It is all digits: no upper case, no reference by name. A message that spells it in the text, by numeric references or
    around a tag, makes css-inline's answer ambiguous; that can only give an element another style of the sender's own.
    """
    marker = next((marker for marker in _MARKERS if marker not in source), "")
    if marker in ("", _MARKERS[0]):
        return (marker, _MARKS) if marker else None
    return marker, [f' {marker}="{number}"' for number in range(MAX_TAGS)]
