"""Rules of a document's style sheets, written into the style attributes of the elements they match.

css-inline calculates, and writes nothing: it would rewrite every tag, lose doctypes, conditional comments and template
tokens. It gets a copy whose start tags carry a number each; of what it returns only the numbered `style` values are read,
and they are spliced into the text as it came. The style sheets stay, for `@media`, `:hover` and `@font-face`; for their sake
`!important` is left out of the inlined copy of a rule, which would otherwise beat every rule under `@media`.

A document that css-inline cannot do in time, or at all, is left as it is, with the reason.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from css_inline import CSSInliner

from filters.mail.declarations import well_formed, written
from filters.mail.markup import ATTRIBUTE, TOKEN, decoded
from filters.mail.workload import MAX_TAGS, refusal

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
_NUMBER = re.compile(r"&#(?:0*([0-9]{1,3})|[xX]0*([0-9a-fA-F]{1,2}))(?![0-9a-fA-F]);?")
_CALCULATOR = CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)
_UNSEEN = frozenset(("base", "head", "link", "meta"))
_MARKERS = tuple(str(number) for number in range(70717, 70917, 10))
_MARKS = tuple(f' {_MARKERS[0]}="{number}"' for number in range(MAX_TAGS))
_GROWTH, _ROOM = 4, 200_000


def inline(source: str) -> Inlined:
    """The splices that inline the style sheets of `source`. Nothing that `source` may hold makes it raise."""
    sheets = _SHEET.findall(source)
    if not sheets:
        return Inlined(skipped="no style sheet")
    tags = [token for token in TOKEN.finditer(source) if token.lastindex == 4]
    css = "".join(sheets)
    if reason := refusal(source, css, tags):
        return Inlined(skipped=reason)
    marker = _marker(source)
    if not marker:
        return Inlined(skipped="no marker is free")
    spaced = css.count("!") != css.count("!important")
    try:
        styles = _calculated(source, tags, marker, spaced=spaced)
    except (_Unreadable, ValueError):
        return Inlined(skipped="css-inline cannot read it")
    splices = tuple(_splices(tags, styles))
    if sum(len(text) for _, _, text in splices) > _GROWTH * len(source) + _ROOM:
        return Inlined(skipped="the result is too large")
    return Inlined(splices=splices)


def spliced(source: str, splices: Iterable[Splice]) -> str:
    """`source` with the splices done; they come in order and do not overlap."""
    parts: list[str] = []
    position = 0
    for start, end, text in splices:
        parts += source[position:start], text
        position = end
    parts.append(source[position:])
    return "".join(parts)


class _Unreadable(Exception):
    pass


def _marker(source: str) -> str:
    """An attribute name that is nowhere in `source`, nor in what its character references say; empty if none is free.

    All digits, so that it has no case and no named reference can spell it.
    """
    if "&#" in source:
        source += _NUMBER.sub(lambda found: chr(int(found[1] or "0") or int(found[2] or "0", 16)), source)
    return next((marker for marker in _MARKERS if marker not in source), "")


def _calculated(source: str, tags: Sequence[re.Match[str]], marker: str, *, spaced: bool) -> dict[int, str]:
    """What css-inline makes of the style attributes: by number of the start tag, the value as css-inline writes it."""
    marks: Sequence[str] = _MARKS if marker == _MARKERS[0] else [f' {marker}="{n}"' for n in range(len(tags))]
    try:
        html = _run(_marked(source, tags, marks), spaced=spaced)
    except ValueError:
        # A style attribute that is no list of declarations stops css-inline for the whole document.
        html = _run(_without_broken_styles(source, tags, marks), spaced=spaced)
    found = re.findall(
        rf'<[a-zA-Z][^ >]*(?: class="[^"]*")? {marker}="([0-9]+)"(?: (?!style=)[^=]*="[^"]*")* style="([^"]*)"',
        html,
    )
    # The parser clones misnested elements, number and all; the first is the one the tag stands for.
    return {int(number): style for number, style in reversed(found)}


def _run(html: str, *, spaced: bool) -> str:
    if spaced:
        # css-inline knows only this spelling.
        html = _SPACED_IMPORTANT.sub("!important", html)
    try:
        result: str = _CALCULATOR.inline(html)
    except BaseException as panic:
        # A panic in Rust is no Exception.
        if type(panic).__name__ != "PanicException":
            raise
        raise _Unreadable from panic
    return result


def _marked(source: str, tags: Sequence[re.Match[str]], marks: Sequence[str]) -> str:
    parts: list[str] = []
    position = 0
    for token, mark in zip(tags, marks, strict=False):
        end = token.end(2)
        parts += source[position:end], mark
        position = end
    parts.append(source[position:])
    return "".join(parts)


def _without_broken_styles(source: str, tags: Sequence[re.Match[str]], marks: Sequence[str]) -> str:
    """Elements with a broken style attribute lose it in this copy and get no number, so they keep it in the result."""
    parts: list[str] = []
    position = 0
    for token, mark in zip(tags, marks, strict=False):
        own = _own_style(token)
        if own is None or well_formed(_value(own)):
            parts += source[position : token.end(2)], mark
            position = token.end(2)
        else:
            parts += (source[position : own.start()],)
            position = own.end()
    parts.append(source[position:])
    return "".join(parts)


def _splices(tags: Sequence[re.Match[str]], styles: dict[int, str]) -> Iterator[Splice]:
    # Newsletters repeat themselves: the same attributes with the same result need to be thought over once.
    known: dict[tuple[str, str], tuple[int, int, str] | None] = {}
    for number in sorted(styles):
        token, style = tags[number], styles[number]
        key = token[3], style
        if key not in known:
            known[key] = _change(token, style)
        if (change := known[key]) is not None and token[2].lower() not in _UNSEEN:
            at = token.end(2)
            yield at + change[0], at + change[1], change[2]


def _change(token: re.Match[str], style: str) -> Splice | None:
    """The splice that gives the tag of `token` that style, counted from the end of its name; None to leave it as it is."""
    if f' style="{style}"' in token[3]:
        return None
    own = _own_style(token)
    if own is None:
        text = written(style)
        return None if text is None else (0, 0, f' style="{text}"')
    before = _value(own)
    if style in _as_written_back(before) or (text := written(style, before)) is None:
        return None
    return own.start() - token.end(2), own.end() - token.end(2), f'style="{text}"'


def _own_style(token: re.Match[str]) -> re.Match[str] | None:
    """The style attribute of a start tag, the first if there are several."""
    if "style" not in token[3].lower():
        return None
    found = ATTRIBUTE.finditer(token.string, *token.span(3))
    return next((attribute for attribute in found if attribute[1].lower() == "style"), None)


def _value(attribute: re.Match[str]) -> str:
    group = attribute.lastindex or 1
    return decoded(attribute[group]) if group > 1 else ""


def _as_written_back(style: str) -> tuple[str, str]:
    """How css-inline writes a style attribute that no rule touched."""
    style = _SPACED_IMPORTANT.sub("!important", style)
    return style, style.replace("&", "&amp;").replace('"', "&quot;").replace("\xa0", "&nbsp;")
