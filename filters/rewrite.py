"""Changes the HTML of a message: decodes the parts, lets each filter edit them, checks what came out, splices it in.

Which parts: text/html that is shown, not attached, in a structure that is sound, outside anything signed or encrypted, in a
character set whose markup is plain ASCII. Everything else is left as it came, and the event says why.

All filters work on the same cuts of the same text, and the text is decoded, spliced, encoded and checked once. A filter that
fails costs itself alone. The check re-reads the finished message: the splices must be of the few kinds a filter may make, the
part must decode to exactly that text, and every other byte of every part must be where it was. A result that fails is
dropped, and the message goes on without it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from filters.job import HostedFile, Job, Link, Site
from filters.mail import parts
from filters.mail.draft import Draft, spliced
from filters.mail.faithful import Unsound, check_faithful
from filters.mail.judge import is_sound
from filters.mail.message import Message
from filters.mail.parts import Part, Structure
from filters.mail.remainder import check_removed
from filters.mail.removal import remove
from filters.mail.text import Text, decode
from journal.event import Event, Kind


@dataclass(frozen=True, slots=True)
class Unchanged(Exception):  # noqa: N818  # no error: a reason
    """A filter found nothing to do, or may not; `reason` says why, `kind` which event that is."""

    reason: str
    kind: Kind = Kind.SKIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a filter did to the drafts: `applied` tells whether anything; `events` are what it noted besides.

    `images` are pictures taken out of the message, `removed` the parts they were in.
    """

    applied: bool
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    images: tuple[HostedFile, ...] = ()
    removed: frozenset[Part] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What an HTML filter works on: the drafts of the shown HTML parts, in order, and the message they are from."""

    message: Message
    structure: Structure
    drafts: tuple[Draft, ...]


def left_alone(name: str, noun: str, reasons: Counter[str]) -> tuple[Event, ...]:
    """An event for each reason why the filter of that name left some links or images, as `noun` says, as they are."""
    return tuple(Event(kind=Kind.KEPT, subject=name, reason=f"{counted(count, noun)}: {why}") for why, count in reasons.items())


def counted(count: int, noun: str) -> str:
    """So many of these, in words."""
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


HtmlFilter = Callable[[Job, Site, Document], Findings]
"""Edits the drafts of a document and tells what it did."""


@dataclass(slots=True)
class _Edition:
    """The parts of one message that can be edited, and what the filters did to them."""

    document: Document
    texts: tuple[tuple[Part, Text], ...]
    removed: set[Part] = field(default_factory=set)


def rewrite_html(job: Job, site: Site, filters: Sequence[tuple[str, HtmlFilter]]) -> Job:
    """The job with the HTML of its message changed by each of the named filters, and events for what was done or not."""
    if not filters:
        return job
    before = job
    try:
        structure = parts.scan(job.message)
        texts, reasons = _texts(job.message, structure)
        for name, _ in filters:
            for reason in reasons:
                job = job.noting(Kind.SKIPPED, name, reason)
        if not texts:
            return job
        before = job
        drafts = tuple(Draft(text.text, unicode=text.codec == "utf-8") for _, text in texts)
        document = Document(message=job.message, structure=structure, drafts=drafts)
        edition = _Edition(document, texts)
        for name, run in filters:
            job = _run(job, site, edition, name, run)
        return _finished(job, edition)
    except Exception as error:  # noqa: BLE001  # a bug in the rewriting costs its features, never the mail
        for name, _ in filters:
            before = before.noting(Kind.FALLBACK, name, _cause(error))
        return before


def _texts(message: Message, structure: Structure) -> tuple[tuple[tuple[Part, Text], ...], tuple[str, ...]]:
    """The parts that can be edited with their text, and the reasons why others cannot."""
    if structure.defect or structure.opaque:
        return (), (structure.defect or structure.opaque,)
    shown = [part for part in structure.leaves if is_shown(part)]
    texts, reasons = [], {}
    for part in shown:
        found = _text(message, part)
        if isinstance(found, Text):
            texts.append((part, found))
        else:
            reasons[found] = True
    return tuple(texts), tuple(reasons) if shown else ("no HTML part",)


def is_shown(part: Part) -> bool:
    """Whether a part is HTML that mail programs show as the mail's text."""
    return part.content_type == "text/html" and part.disposition != "attachment"


def is_editable(message: Message) -> bool:
    """Whether any part of `message` would be given to the filters."""
    try:
        return bool(_texts(message, parts.scan(message))[0])
    except Exception:  # noqa: BLE001  # a bug in reading it costs the features, never the mail; rewrite_html tells of it
        return False


def _text(message: Message, part: Part) -> Text | str:
    if part.opaque:
        return part.opaque
    try:
        text = decode(parts.content(message, part), part.charset)
    except ValueError as error:
        return str(error)
    return text or "character set is unknown or not ASCII-compatible"


def _run(job: Job, site: Site, edition: _Edition, name: str, run: HtmlFilter) -> Job:
    """The job after one filter; what it did is taken back where it fails."""
    drafts = edition.document.drafts
    marks = [draft.mark() for draft in drafts]
    try:
        findings = run(job, site, edition.document)
    except Unchanged as unchanged:
        return job.noting(unchanged.kind, name, unchanged.reason)
    except Exception as error:  # noqa: BLE001  # a bug in a feature costs the feature, never the mail
        for draft, mark in zip(drafts, marks, strict=True):
            draft.restore(mark)
        return job.noting(Kind.FALLBACK, name, _cause(error))
    edition.removed |= findings.removed
    applied = (Event(kind=Kind.APPLIED, subject=name),) if findings.applied else ()
    events = (*job.events, *findings.events, *applied)
    return replace(job, events=events, links=(*job.links, *findings.links), images=(*job.images, *findings.images))


def _cause(error: Exception) -> str:
    # The text of an unknown error may hold some of the message.
    return str(error) if isinstance(error, Unsound) else f"{type(error).__name__} in it"


def _finished(job: Job, edition: _Edition) -> Job:
    """The job with the splices of all drafts in its message. Raises Unsound."""
    changes = {part: changed for part, changed in _changes(edition)}
    if not changes:
        return job
    before, structure = edition.document.message, edition.document.structure
    if edition.removed:
        message = remove(before, structure, edition.removed, changes)
        check_removed(before, structure, message, edition.removed, changes)
    else:
        message = parts.replace(before, changes)
        check_faithful(before, structure, message, changes)
    return replace(job, message=message)


def _changes(edition: _Edition) -> Iterator[tuple[Part, bytes]]:
    for draft, (part, text) in zip(edition.document.drafts, edition.texts, strict=True):
        splices = draft.splices()
        if splices:
            if not is_sound(splices, draft.outline):
                raise Unsound("more than links, images and style attributes would change")
            yield part, text.encode(spliced(draft.source, splices))
