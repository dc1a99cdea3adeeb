"""What the journal keeps, as values, and their form on disk: one JSON array each.

A message is one row per recipient; it is also the record of the attempt. Its identifier is the one in its links. A copy is
the second pass over a message that was split, one for each recipient. A visit is a click or an opening.
"""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from operator import attrgetter

from journal.event import Decision

_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps makes one anew each time


class VisitKind(StrEnum):
    """CLICK: a link was followed. OPEN: a picture was fetched."""

    CLICK = "click"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One recipient of one accepted message. `id` is the recipient's identifier in hex, `time` UTC seconds since 1970.

    `envelope` is the client's MAIL FROM; `message_id` the Message-ID field with its angle brackets, or ""; `properties`
    the options in force; `decisions` tell for each feature what became of it and who decided it.
    """

    id: str
    time: int
    login: str
    account: str
    envelope: str
    recipient: str
    queue_id: str
    message_id: str
    properties: tuple[str, ...]
    tags: tuple[str, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRecord:
    """The copy of a split message for one recipient. `message` is the record's id, `queue_id` the copy's own."""

    message: str
    time: int
    queue_id: str
    decisions: tuple[Decision, ...]


# Not frozen: one is made for each request of the tracking host, and freezing takes a microsecond. Nobody changes one.
@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class VisitRecord:
    """A click or an opening. `message` names the recipient's record, `number` the link (from 1; 0 is the pixel).

    `url` is the one that was asked for, `destination` where the visitor was sent ("" for pictures served from here), `ip` may
    be shortened or "", `protocol` is http or https, `headers` the request's fields, a line each. `machine` tells that no
    person was behind it, as far as can be told.
    """

    kind: VisitKind
    message: str
    time: int
    number: int
    url: str
    destination: str
    ip: str
    protocol: str
    headers: str
    machine: bool


Record = MessageRecord | CopyRecord | VisitRecord


# All fields in their order; astuple() copies each of them deeply, which takes longer than all the rest.
_MESSAGE = attrgetter(*(field.name for field in fields(MessageRecord)))
_COPY = attrgetter(*(field.name for field in fields(CopyRecord)))


def encode(record: Record) -> bytes:
    """The record as one line of JSON without line end."""
    match record:
        case VisitRecord():
            return _visit(record)
        case MessageRecord():
            return _line("message", _MESSAGE(record))
        case CopyRecord():
            return _line("copy", _COPY(record))


def decode(line: bytes) -> Record:
    """The inverse of `encode`. Raises ValueError for anything else."""
    try:
        kind, *found = json.loads(line)
        if kind == "message":
            *plain, properties, tags, decisions = found
            names = ("id", "time", "login", "account", "envelope", "recipient", "queue_id", "message_id")
            return MessageRecord(
                **dict(zip(names, plain, strict=True)),
                properties=tuple(properties),
                tags=tuple(tags),
                decisions=tuple(Decision(*decision) for decision in decisions),
            )
        if kind == "copy":
            message, time, queue_id, decisions = found
            decided = tuple(Decision(*decision) for decision in decisions)
            return CopyRecord(message=message, time=time, queue_id=queue_id, decisions=decided)
        message, time, number, url, destination, ip, protocol, headers, machine = found
        return VisitRecord(
            kind=VisitKind(kind), message=message, time=time, number=number, url=url, destination=destination,
            ip=ip, protocol=protocol, headers=headers, machine=machine,
        )  # fmt: skip
    except (TypeError, KeyError) as error:
        raise ValueError(f"this is no record of the journal: {error}") from error


def _visit(record: VisitRecord) -> bytes:
    """What `_line` gives, in a third of the time: this is the hot path of the tracking host."""
    kind = "click" if record.kind is VisitKind.CLICK else "open"
    url, destination, machine = _quoted(record.url), _quoted(record.destination), "true" if record.machine else "false"
    return (
        f'["{kind}",{_quoted(record.message)},{record.time},{record.number},{url},{destination},'
        f"{_quoted(record.ip)},{_quoted(record.protocol)},{_quoted_fields(record.headers)},{machine}]"
    ).encode("utf-8", "replace")


# The same browsers come again and again.
_quoted_fields = lru_cache(maxsize=512)(_quoted)


def _line(kind: str, values: tuple[object, ...]) -> bytes:
    return _WRITE((kind, *values)).encode("utf-8", "replace")
