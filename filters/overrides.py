"""Control fields: read from the top of the message, obeyed, and removed, whether a feature is on or not.

A field is a control field when its name is `x-smtpeter` or begins with `x-smtpeter-`, in any case; for a login that asks for
it also when it is one of another provider (filters.dialects). A field beats the login in both directions, unless the login
keeps the option for itself, and one of ours beats another provider's; a value that cannot be read leaves the login's setting
and is noted as a warning; of several the last that can be read counts; tags are merged. Only the message's own header is
looked at: what stands in a nested part or an attached message is content and stays.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from filters.dialects.fields import LONGEST_NAME, dialect_of, line_of, read_fields
from filters.dialects.switches import NAMESPACES
from filters.job import Job
from filters.mail.message import Field, Message
from filters.reading import HEADER, Rank, Reading, Said
from filters.tags import MAX_TAGS, read_tags
from journal.event import Event, Kind
from policy.login import Dialect
from policy.options import BY_HEADER, HEADER_PREFIX, TAGS_HEADER, InvalidOption, Option
from policy.reply import Refused, malformed

MAX_FIELD = 59_000  # octets; with a milter Postfix cuts a field at 60,000 without a word (cleanup_message.c)
MAX_FIELDS = 10_000
MAX_CONTROL = 1_000  # control fields; Postfix takes time for each that is removed
FORCED = "login, forced"  # who decided
NOT_DECIDED = "the login does not let a message decide this"

_CONTROL = re.compile(rb"x-smtpeter(?:-[!-9;-~]*)?", re.IGNORECASE)
# Also without its colon: then it is itself the line that is no field.
_CONTROL_LINE = re.compile(rb"[^!-~]*x-smtpeter(?:-[^: \t\r\n]*)?[ \t]*(?::|\Z)", re.IGNORECASE)
_FIELD_LINE = re.compile(rb"[!-9;-~]{1,2000}[ \t]*:")  # Postfix reads lines in pieces of 2048 octets
_BOUNDARY = re.compile(rb"boundary[ \t]*=[ \t]*\"?([^\";]+)", re.IGNORECASE)


def is_control(field: Field, dialects: Collection[Dialect] = ()) -> bool:
    """Whether a field is one of ours, or of these dialects; known or not."""
    return _CONTROL.fullmatch(field.name) is not None or dialect_of(field.name, dialects) is not None


def check_header(message: Message, dialects: Collection[Dialect] = ()) -> None:
    """Refuses a header that cannot be read as its sender meant it. Raises Refused (550 5.6.0)."""
    if len(message.fields) > MAX_FIELDS:
        raise Refused(malformed(f"The header has more than {MAX_FIELDS} fields"))
    if sum(is_control(field, dialects) for field in message.fields) > MAX_CONTROL:
        raise Refused(malformed(f"The header has more than {MAX_CONTROL} control fields"))
    for field in message.fields:
        if len(field.name) + len(field.value) >= MAX_FIELD:
            name = field.name[:40].decode("ascii", "replace")
            raise Refused(malformed(f"The header field {name} is longer than {MAX_FIELD} octets"))
    if _control_field_in_body(message, dialects):
        raise Refused(malformed("Malformed header: a line that is no header field cuts off a control field below it"))


def apply_overrides(job: Job) -> Job:
    """The job with the options in force, its tags, what is to be told of each control field, and none of them left."""
    readings = (*_own_readings(job), *read_fields(job.message.fields, job.dialects))
    options: dict[str, Any] = {}
    decided_by = {}
    for reading in sorted(readings, key=lambda reading: reading.rank):
        for option, value in reading.said.options:
            if option not in job.forced:
                options[option], decided_by[option] = value, reading.by
    events = [event for reading in readings for event in _events(reading, job.forced)]
    tags = tuple(dict.fromkeys(tag for reading in readings for tag in reading.said.tags))
    if len(tags) > MAX_TAGS:
        events.append(Event(kind=Kind.WARNING, subject=TAGS_HEADER, reason=f"more than {MAX_TAGS} tags; the rest left out"))
    return replace(
        job,
        options=replace(job.options, **options),
        decided_by=decided_by | dict.fromkeys(job.forced, FORCED),
        tags=tags[:MAX_TAGS],
        events=(*job.events, *events),
        message=strip(job.message, job.dialects),
    )


def strip(message: Message, dialects: Collection[Dialect] = ()) -> Message:
    """The message without control fields."""
    kept = tuple(field for field in message.fields if not is_control(field, dialects))
    return message if len(kept) == len(message.fields) else Message(kept, message.body)


def _own_readings(job: Job) -> Iterator[Reading]:
    """What our own fields say, in their order."""
    for field in filter(is_control, job.message.fields):
        name = field.name.lower().decode("ascii")
        option = BY_HEADER.get(name)
        if name == TAGS_HEADER:
            yield _read_tags(name, field)
        elif option is None:
            yield Reading(by=HEADER, subject=name[:LONGEST_NAME], rank=Rank.OWN, warning="unknown control field")
        elif option.name in job.forced:
            yield Reading(by=HEADER, subject=name, rank=Rank.OWN, warning=NOT_DECIDED)
        else:
            yield _read_option(name, field, option)


def _read_option(name: str, field: Field, option: Option) -> Reading:
    try:
        said = Said(options=((option.name, option.parse(field.text.decode("ascii", "replace"))),))
    except InvalidOption:
        # The value itself is the sender's text: it stays out of the log.
        return Reading(by=HEADER, subject=name, rank=Rank.OWN, warning=f"value not understood; it takes {option.allowed}")
    return Reading(by=HEADER, subject=name, rank=Rank.OWN, said=said)


def _read_tags(name: str, field: Field) -> Reading:
    tags, unusable = read_tags(field.text)
    warning = f"{unusable} unusable tag{'s' if unusable > 1 else ''} left out" if unusable else ""
    return Reading(by=HEADER, subject=name, rank=Rank.OWN, said=Said(tags=tuple(tags)), warning=warning)


def _events(reading: Reading, forced: Collection[str]) -> Iterator[Event]:
    """What is to be told of a field: what is wrong with it, and of another provider's also what it asks for."""
    if reading.warning:
        yield Event(kind=Kind.WARNING, subject=reading.subject, reason=reading.warning)
    if any(option in forced for option, _ in reading.said.options):
        yield Event(kind=Kind.WARNING, subject=reading.subject, reason=NOT_DECIDED)
    asked = [f"{option}={Option.word(value)}" for option, value in reading.said.options if option not in forced]
    if reading.said.tags:
        asked.append(f"{len(reading.said.tags)} tag{'s' if len(reading.said.tags) > 1 else ''}")
    if reading.by != HEADER and (asked or not reading.said.options) and (asked or not reading.warning):
        yield Event(kind=Kind.MAPPED, subject=reading.subject, reason=", ".join(asked) or "decides nothing")


def _control_field_in_body(message: Message, dialects: Collection[Dialect]) -> bool:
    """Whether Postfix ended the header at a malformed line and so pushed a control field into the body.

    Then the body begins with a line that is no field, and the block it begins is otherwise the rest of a header. Ordinary
    text that speaks of a control field, a preamble, or the header of a nested part is none of that.
    """
    block = list(_first_block(message.body))
    names = (HEADER_PREFIX, *(name for dialect in dialects for name in NAMESPACES[dialect]))
    text = b"\n".join(block).lower()
    if not any(name.encode() in text for name in names):
        return False
    first, rest = block[0], block[1:]
    if _FIELD_LINE.match(first) or _is_content(message, first):
        return False
    lines = (_CONTROL_LINE, line_of(dialects)) if dialects else (_CONTROL_LINE,)
    if _begins(first, lines):
        return True
    fields = sum(1 for line in rest if _FIELD_LINE.match(line) or line[:1] in b" \t")
    return 2 * fields >= len(rest) and any(_begins(line, lines) for line in rest)


def _begins(line: bytes, patterns: Sequence[re.Pattern[bytes]]) -> bool:
    return any(pattern.match(line) for pattern in patterns)


def _first_block(body: bytes) -> Iterator[bytes]:
    position = 0
    while position < min(len(body), MAX_FIELD):
        end = body.find(b"\n", position)
        line = body[position : end if end >= 0 else len(body)].rstrip(b"\r")
        if not line:
            return
        yield line
        if end < 0:
            return
        position = end + 1


def _is_content(message: Message, first: bytes) -> bool:
    content_type = message.first(b"content-type")
    kind = content_type.text.lower() if content_type else b""
    if kind.startswith(b"multipart/"):
        boundary = _BOUNDARY.search(content_type.text) if content_type else None
        return first.startswith(b"--" + (boundary[1].strip() if boundary else b""))
    return kind.startswith(b"message/")
