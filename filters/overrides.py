"""Control fields: read from the top of the message, obeyed, and removed, whether a feature is on or not.

A field is a control field when its name is `x-smtpeter` or begins with `x-smtpeter-`, in any case. The field beats the
login in both directions; a value that cannot be read leaves the login's setting and is noted as a warning; of several the
last that can be read counts; tags are merged. Only the message's own header is looked at: what stands in a nested part or an
attached message is content and stays.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from filters.job import Job
from filters.mail.message import Field, Message
from journal.event import Kind
from policy.options import BY_HEADER, HEADER_PREFIX, TAGS_HEADER, InvalidOption
from policy.reply import Refused, malformed

MAX_FIELD = 59_000  # octets; with a milter Postfix cuts a field at 60,000 without a word (cleanup_message.c)
MAX_FIELDS = 10_000
MAX_CONTROL = 1_000  # control fields; Postfix takes time for each that is removed
MAX_TAGS = 50
MAX_TAG = 128  # characters

_CONTROL = re.compile(rb"x-smtpeter(?:-[!-9;-~]*)?", re.IGNORECASE)
# Also without its colon: then it is itself the line that is no field.
_CONTROL_LINE = re.compile(rb"[^!-~]*x-smtpeter(?:-[^: \t\r\n]*)?[ \t]*(?::|\Z)", re.IGNORECASE)
_FIELD_LINE = re.compile(rb"[!-9;-~]{1,2000}[ \t]*:")  # Postfix reads lines in pieces of 2048 octets
# Also what shows as nothing or turns the text around it: controls, bidirectional marks, what could not be decoded.
_BAD_TAG = re.compile(r"[\s;\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffd\ud800-\udfff]")
_ENCODED_WORD = re.compile(r"=\?([^?]*)\?[bBqQ]\?[^?]*\?=")  # RFC 2047 2
_CHARSET = re.compile(r"utf-8|us-ascii|iso-8859-[0-9]{1,2}|windows-125[0-9]", re.IGNORECASE)
_BOUNDARY = re.compile(rb"boundary[ \t]*=[ \t]*\"?([^\";]+)", re.IGNORECASE)
_MAX_ENCODED = 8_192  # characters of a field with encoded words; the library takes quadratic time for them


def is_control(field: Field) -> bool:
    """Whether a field is one of ours, known or not."""
    return _CONTROL.fullmatch(field.name) is not None


def check_header(message: Message) -> None:
    """Refuses a header that cannot be read as its sender meant it. Raises Refused (550 5.6.0)."""
    if len(message.fields) > MAX_FIELDS:
        raise Refused(malformed(f"The header has more than {MAX_FIELDS} fields"))
    if sum(map(is_control, message.fields)) > MAX_CONTROL:
        raise Refused(malformed(f"The header has more than {MAX_CONTROL} X-SMTPeter fields"))
    for field in message.fields:
        if len(field.name) + len(field.value) >= MAX_FIELD:
            name = field.name[:40].decode("ascii", "replace")
            raise Refused(malformed(f"The header field {name} is longer than {MAX_FIELD} octets"))
    if _control_field_in_body(message):
        raise Refused(malformed("Malformed header: a line that is no header field cuts off an X-SMTPeter field below it"))


def apply_overrides(job: Job) -> Job:
    """The job with the options in force, its tags, a warning for each value not understood, and no control field left."""
    options, tags, overridden = job.options, [], set()
    for field in filter(is_control, job.message.fields):
        name = field.name.lower().decode("ascii")
        if name == TAGS_HEADER:
            found, dropped = read_tags(field.text)
            tags += found
            if dropped:
                job = job.noting(Kind.WARNING, name, f"{dropped} unusable tag{'s' if dropped > 1 else ''} left out")
        elif (option := BY_HEADER.get(name)) is None:
            job = job.noting(Kind.WARNING, name[:60], "unknown control field")
        else:
            try:
                options = options.with_words({option.name: field.text.decode("ascii", "replace")})
                overridden.add(option.name)
            except InvalidOption:
                # The value itself is the sender's text: it stays out of the log.
                job = job.noting(Kind.WARNING, name, f"value not understood; it takes {option.allowed}")
    unique = tuple(dict.fromkeys(tags))
    if len(unique) > MAX_TAGS:
        job = job.noting(Kind.WARNING, TAGS_HEADER, f"more than {MAX_TAGS} tags; the rest left out")
    message = strip(job.message)
    return replace(job, options=options, overridden=frozenset(overridden), tags=unique[:MAX_TAGS], message=message)


def strip(message: Message) -> Message:
    """The message without control fields."""
    kept = tuple(field for field in message.fields if not is_control(field))
    return message if len(kept) == len(message.fields) else Message(kept, message.body)


def read_tags(value: bytes) -> tuple[list[str], int]:
    """The tags in a field's text, and how many could not be used: inner blank, semicolon, control character, too long."""
    text = value.decode("utf-8", "replace")
    if "=?" in text:
        charsets = _ENCODED_WORD.findall(text)
        # Python would try any of its codecs, and some take minutes.
        if len(text) > _MAX_ENCODED or not all(map(_CHARSET.fullmatch, charsets)):
            return [], 1
        try:
            text = str(make_header(decode_header(text)))  # RFC 2047
        except (HeaderParseError, LookupError, UnicodeError, ValueError):
            return [], 1
    words = [word for word in (part.strip() for part in text.split(",")) if word]
    good = [word for word in words if len(word) <= MAX_TAG and not _BAD_TAG.search(word)]
    return good, len(words) - len(good)


def _control_field_in_body(message: Message) -> bool:
    """Whether Postfix ended the header at a malformed line and so pushed a control field into the body.

    Then the body begins with a line that is no field, and the block it begins is otherwise the rest of a header. Ordinary
    text that speaks of a control field, a preamble, or the header of a nested part is none of that.
    """
    block = list(_first_block(message.body))
    if not block or HEADER_PREFIX.encode() not in b"\n".join(block).lower():
        return False
    first, rest = block[0], block[1:]
    if _FIELD_LINE.match(first) or _is_content(message, first):
        return False
    if _CONTROL_LINE.match(first):
        return True
    fields = sum(1 for line in rest if _FIELD_LINE.match(line) or line[:1] in b" \t")
    return 2 * fields >= len(rest) and any(_CONTROL_LINE.match(line) for line in rest)


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
