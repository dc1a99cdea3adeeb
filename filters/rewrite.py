"""Changes the HTML of a message: decodes the parts, lets one feature rewrite them, checks what came out, splices it in.

Which parts: text/html that is shown, not attached, in a structure that is sound, outside anything signed or encrypted, in a
character set whose markup is plain ASCII. Everything else is left as it came, and the event says why.

The check re-reads the finished message: the feature's own judge must find nothing but what the feature may change, the part
must decode to exactly that text, and every other byte of every part must be where it was. A result that fails is dropped,
and the message goes on without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest

from filters.job import Job
from filters.mail import parts
from filters.mail.message import Field, Message
from filters.mail.parts import Part, Structure
from filters.mail.text import decode
from journal.event import Kind


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a feature made of one text: `text` (None = unchanged), else the reason in `skipped`."""

    text: str | None
    skipped: str = ""


Rewriter = Callable[[str, int], Rewritten]
"""Takes a text, and how many of its kind the message has: they share the time one message may take."""


class Unsound(Exception):
    """A feature's result would change more than it may; the message says what."""


def rewrite_html(job: Job, feature: str, rewriter: Rewriter) -> Job:
    """The job with the HTML of its message rewritten, and an event for what was done, left or given up."""
    structure = parts.scan(job.message)
    if structure.defect or structure.opaque:
        return job.noting(Kind.SKIPPED, feature, structure.defect or structure.opaque)
    shown = [part for part in structure.leaves if part.content_type == "text/html" and part.disposition != "attachment"]
    if not shown:
        return job.noting(Kind.SKIPPED, feature, "no HTML part")
    changes: dict[Part, bytes] = {}
    try:
        for part in shown:
            changed, reason = _rewrite_part(job.message, part, lambda text: rewriter(text, len(shown)))
            if changed is None:
                job = job.noting(Kind.SKIPPED, feature, reason)
            else:
                changes[part] = changed
        if not changes:
            return job
        message = parts.replace(job.message, changes)
        check_faithful(job.message, structure, message, changes)
    except Exception as error:  # noqa: BLE001  # a bug in a feature costs the feature, never the mail
        # The text of an unknown error may hold some of the message.
        return job.noting(Kind.FALLBACK, feature, str(error) if isinstance(error, Unsound) else f"{type(error).__name__} in it")
    return replace(job, message=message).noting(Kind.APPLIED, feature)


def _rewrite_part(message: Message, part: Part, rewriter: Callable[[str], Rewritten]) -> tuple[bytes | None, str]:
    if part.opaque:
        return None, part.opaque
    try:
        content = parts.content(message, part)
    except ValueError as error:
        return None, str(error)
    text = decode(content, part.charset)
    if text is None:
        return None, "character set is unknown or not ASCII-compatible"
    rewritten = rewriter(text.text)
    if rewritten.text is None:
        return None, rewritten.skipped
    return text.encode(rewritten.text), ""


def check_faithful(before: Message, structure: Structure, after: Message, changes: Mapping[Part, bytes]) -> None:
    """Re-reads `after`: it must be `before` but for the content of the parts in `changes`. Raises Unsound."""
    old_end = new_end = 0
    for old, new in zip_longest(structure.leaves, parts.scan(after).leaves):
        if old is None or new is None or old.content_type != new.content_type:
            raise Unsound("the parts are not those that were there")
        changed = old in changes
        old_start, new_start = _start(old, changed=changed), _start(new, changed=changed)
        if before.body[old_end:old_start] != after.body[new_end:new_start]:
            raise Unsound("something between the parts was changed")
        if changed:
            _check_changed(before, old, after, new, changes[old])
        elif before.body[old_start : old.body.end] != after.body[new_start : new.body.end]:
            raise Unsound("a part was changed that nobody asked to change")
        old_end, new_end = old.body.end, new.body.end
    if before.body[old_end:] != after.body[new_end:]:
        raise Unsound("something behind the parts was changed")
    if before.fields != after.fields and _kept(before.fields) != _kept(after.fields):
        raise Unsound("a header field was changed")


def _start(part: Part, *, changed: bool) -> int:
    """Where a part begins for the comparison: a changed one may get another transfer encoding in its header."""
    return part.header.start if changed and part.header else part.body.start


def _check_changed(before: Message, old: Part, after: Message, new: Part, wanted: bytes) -> None:
    if parts.content(after, new) != wanted:
        raise Unsound("a changed part does not read back as it was written")
    if old.header and new.header:
        headers = (message.body[slice(*part.header)] for message, part in ((before, old), (after, new)) if part.header)
        old_fields, new_fields = (_kept(Message.parse(header).fields) for header in headers)
        if old_fields != new_fields:
            raise Unsound("a field of a changed part was changed")


def _kept(fields: tuple[Field, ...]) -> list[Field]:
    """The fields but for those that tell of the transfer encoding."""
    return [field for field in fields if field.name.lower() not in (b"content-transfer-encoding", b"mime-version")]
