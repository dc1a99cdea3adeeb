"""The check of a changed message by reading it again: it must be the one that came but for the content of some parts."""

from collections.abc import Mapping
from itertools import zip_longest

from filters.mail.message import Field, Message
from filters.mail.parts import Part, Structure, content, scan


class Unsound(Exception):
    """The result would change more than it may; the message says what."""


def check_faithful(before: Message, structure: Structure, after: Message, changes: Mapping[Part, bytes]) -> None:
    """Re-reads `after`: it must be `before` but for the content of the parts in `changes`. Raises Unsound."""
    old_end = new_end = 0
    for old, new in zip_longest(structure.leaves, scan(after).leaves):
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
    try:
        found = content(after, new)
    except ValueError as error:
        raise Unsound("a changed part cannot be read back") from error
    if found != wanted:
        raise Unsound("a changed part does not read back as it was written")
    if old.header and new.header:
        headers = (message.body[slice(*part.header)] for message, part in ((before, old), (after, new)) if part.header)
        old_fields, new_fields = (_kept(Message.parse(header).fields) for header in headers)
        if old_fields != new_fields:
            raise Unsound("a field of a changed part was changed")


def _kept(fields: tuple[Field, ...]) -> list[Field]:
    """The fields but for those that tell of the transfer encoding."""
    return [field for field in fields if field.name.lower() not in (b"content-transfer-encoding", b"mime-version")]
