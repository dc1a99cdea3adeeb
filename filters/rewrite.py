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
from filters.mail.message import Message
from filters.mail.parts import Part, Structure
from filters.mail.text import decode
from journal.event import Kind


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a feature made of one text: `text` (None = unchanged), else the reason in `skipped`."""

    text: str | None
    skipped: str = ""


Rewriter = Callable[[str], Rewritten]


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
    for part in shown:
        try:
            changed, reason = _rewrite_part(job.message, part, rewriter)
        except Exception as error:  # noqa: BLE001  # a bug in a feature costs the feature, never the mail
            return job.noting(Kind.FALLBACK, feature, f"{type(error).__name__} in the feature")
        if changed is not None:
            changes[part] = changed
        else:
            job = job.noting(Kind.SKIPPED, feature, reason)
    if not changes:
        return job
    try:
        message = parts.replace(job.message, changes)
        check_faithful(job.message, structure, message, changes)
    except Exception as error:  # noqa: BLE001  # same
        reason = str(error) if isinstance(error, Unsound) else f"{type(error).__name__} while splicing"
        return job.noting(Kind.FALLBACK, feature, reason)
    return replace(job, message=message).noting(Kind.APPLIED, feature)


def _rewrite_part(message: Message, part: Part, rewriter: Rewriter) -> tuple[bytes | None, str]:
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
    for old, new in zip_longest(structure.leaves, parts.scan(after).leaves):
        if old is None or new is None or old.content_type != new.content_type:
            raise Unsound("the parts are not those that were there")
        if old in changes:
            if parts.content(after, new) != changes[old]:
                raise Unsound("a changed part does not read back as it was written")
        elif _raw(before, old) != _raw(after, new):
            raise Unsound("a part was changed that nobody asked to change")


def _raw(message: Message, part: Part) -> bytes:
    start = part.header[0] if part.header else part.body[0]
    return message.body[start : part.body[1]]
