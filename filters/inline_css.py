"""Rules of a document's style sheets, written into the style attributes of the elements they match.

css-inline calculates, and writes nothing: it would rewrite every tag, lose doctypes, conditional comments and template
tokens. It gets a copy whose start tags carry a number each; of what it returns only the numbered `style` values are read,
and they are spliced into the text as it came. The style sheets stay, for `@media`, `:hover` and `@font-face`; for their sake
`!important` is left out of the inlined copy of a rule, which would otherwise beat every rule under `@media`.

Messages of one template differ in text and links only, so css-inline gets the skeleton of a document, and what it says of
one is remembered for the next message.

A document that css-inline cannot do in time, or at all, is left as it is, with the reason.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from css_inline import CSSInliner

from filters.job import Job, Site
from filters.mail.declarations import well_formed, written
from filters.mail.draft import Splice
from filters.mail.outline import SPACED_IMPORTANT, Outline, StyleAttribute
from filters.mail.skeleton import Skeleton
from filters.mail.workload import MAX_SECONDS, MAX_TAGS, TOO_MANY_TAGS, refusal
from filters.rewrite import Document, Findings
from journal.event import Event, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlined:
    """What inlining comes to: the splices in order, or the reason why there are none."""

    splices: tuple[Splice, ...] = ()
    skipped: str = ""


NAME = "inlinecss"
_CALCULATOR = CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)
_UNSEEN = frozenset(("base", "BASE", "head", "HEAD", "link", "LINK", "meta", "META"))
_MARKERS = tuple(str(number) for number in range(707170717, 707170917, 10))
_MARKS = tuple(f' {_MARKERS[0]}="{number}"' for number in range(MAX_TAGS))
_GROWTH, _ROOM = 4, 200_000
SKELETONS = 32  # of which the styles are remembered; some 40 kB each
_REMEMBERED: dict[bytes, tuple[tuple[int, str], ...]] = {}


def inline_css(_job: Job, _site: Site, document: Document) -> Findings:
    """Copies the rules of the style sheets into the style attributes. Raises Unchanged where no part gets any."""
    events, applied = [], False
    for draft in document.drafts:
        inlined = inline(draft.outline, MAX_SECONDS / len(document.drafts))
        if inlined.splices:
            draft.splice(inlined.splices)
            applied = True
        else:
            reason = inlined.skipped or "no rule of a style sheet changes anything"
            events.append(Event(kind=Kind.SKIPPED, subject=NAME, reason=reason))
    return Findings(applied=applied, events=tuple(events))


def inline(document: Outline, seconds: float = MAX_SECONDS) -> Inlined:
    """The splices that inline the style sheets of a text. Nothing that it may hold makes this raise.

    A document that css-inline would take more than about `seconds` for is skipped.
    """
    source, css = document.source, "".join(document.sheets)
    if not css:
        return Inlined(skipped="no style sheet")
    if source.count("<") > 5 * MAX_TAGS:
        return Inlined(skipped=TOO_MANY_TAGS)
    if (marks := _marks(source)) is None:
        return Inlined(skipped="no attribute name is free")
    calculation = _Calculation(document, css, marks)
    texts = _REMEMBERED.get(calculation.key)
    if texts is None:
        if document.is_doubtful(source):
            return Inlined(skipped="tags inside raw text or attributes, next to svg, math, select, frameset or noscript")
        if reason := refusal(source, css, document.names, document.attributes, seconds):
            return Inlined(skipped=reason)
        try:
            texts = calculation.texts()
        except _Unusable as reason:
            return Inlined(skipped=str(reason))
    else:
        del _REMEMBERED[calculation.key]
    _REMEMBERED[calculation.key] = texts  # the one used last stands last
    if len(_REMEMBERED) > SKELETONS:
        del _REMEMBERED[next(iter(_REMEMBERED))]
    return Inlined(splices=tuple(_splices(document, texts)))


def _splices(document: Outline, texts: Iterable[tuple[int, str]]) -> Iterator[Splice]:
    """Where the attributes of the tags of those numbers go: in place of one that is there, else behind the name."""
    for number, text in texts:
        at = document.name_ends[number]
        own = document.style(number) if text[0] == "s" else None
        yield (at, at, text) if own is None else (at + own.start, at + own.end, text)


class _Unusable(Exception):
    """What css-inline returned is nothing to work with; the message is the reason."""


def _inserted(style: str) -> str:
    """What to write into a tag without a style attribute; empty to leave it as it is."""
    text = written(style)
    return "" if text is None else f' style="{text}"'


class _Calculation:
    """One document on its way through css-inline, which gets only its skeleton. `key` is the same for the same skeleton."""

    def __init__(self, document: Outline, css: str, marks: tuple[str, Sequence[str]]) -> None:
        self._document = document
        self._skeleton = Skeleton(document, css)
        self._attributes = self._skeleton.attributes
        self._marker, self._marks = marks
        self._spaced = css.count("!") != css.count("!important")
        self._html = self._skeleton.marked(self._marks, self._attributes)
        self.key = hashlib.blake2b(self._html.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def texts(self) -> tuple[tuple[int, str], ...]:
        """By number of the start tag, the style attribute it gets; raises _Unusable."""
        document = self._document
        # What was thought over once is remembered.
        inserted: dict[str, str] = {}
        texts: list[tuple[int, str]] = []
        for number, style in sorted(self._styles().items()):
            own = document.style(number)
            if own is None:
                if (text := inserted.get(style)) is None:
                    text = inserted[style] = _inserted(style)
                if text and document.names[number] not in _UNSEEN:
                    texts.append((number, text))
            else:
                if (text := own.texts.get(style)) is None:
                    text = own.texts[style] = own.replaced(style)
                if text:
                    texts.append((number, text))
        return tuple(texts)

    def _styles(self) -> dict[int, str]:
        """By number of the start tag, the style attribute as css-inline writes it."""
        try:
            html = self._run(self._html)
        except ValueError:
            # A style attribute that is no list of declarations stops css-inline for the whole document. Without theirs,
            # and without a number, such elements keep it in the result.
            self._leave_broken_styles()
            try:
                html = self._run(self._skeleton.marked(self._marks, self._attributes))
            except ValueError as error:
                raise _Unusable("css-inline cannot read it") from error
        found = re.findall(rf' {self._marker}="([0-9]+)"(?: (?!style=)[^=]*="[^"]*")* style="([^"]*)"', html)
        # The parser clones misnested elements, number and all; the first is the one the tag stands for.
        return {int(number): style for number, style in reversed(found)}

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
