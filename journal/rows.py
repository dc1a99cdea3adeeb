"""Records as rows of the tables, and back.

A text is stored as it is but for what PostgreSQL cannot hold: NUL, and surrogates without their other half, become U+FFFD.
"""

import json
from collections.abc import Mapping
from typing import Any

from journal.event import Decision
from journal.records import CopyRecord, MessageRecord, Record, VisitKind, VisitRecord

UNDECIDED = "[]"  # what a message without decisions has there
LONGEST_ID = 64  # characters; ours have 18 to 24
_LARGEST = 2**63  # what both databases keep is below, and not below its negative
_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Row = dict[str, str | int | bool]


class BadRecord(ValueError):
    """A record cannot be kept, now or later; the message says why, without its content."""


def table_and_row(identifier: str, record: Record) -> tuple[str, Row]:
    """The name of the table and the row of a record; a message has its own identifier. Raises BadRecord."""
    match record:
        case MessageRecord():
            row = _plain(record, "id", "login", "account", "envelope", "recipient", "queue_id", "message_id", numbers=("time",))
            row["recipient_lower"] = str(row["recipient"]).lower()
            row["properties"] = _WRITE([text(word) for word in record.properties])
            row["tags"] = _WRITE([text(word) for word in record.tags])
            row["decisions"] = _decisions(record.decisions)
            return "messages", row
        case CopyRecord():
            row = _plain(record, "message", "queue_id", numbers=("time",))
            row["decisions"] = _decisions(record.decisions)
            return "copies", row | {"id": identifier}
        case VisitRecord():
            names = ("message", "url", "destination", "ip", "protocol", "headers")
            row = _plain(record, *names, numbers=("time", "number"))
            return "visits", row | {"id": identifier, "kind": record.kind.value, "machine": record.machine is True}


def message(row: Any) -> MessageRecord:
    """The record in a row of `messages`."""
    return MessageRecord(
        id=row.id,
        time=row.time,
        login=row.login,
        account=row.account,
        envelope=row.envelope,
        recipient=row.recipient,
        queue_id=row.queue_id,
        message_id=row.message_id,
        properties=tuple(json.loads(row.properties)),
        tags=tuple(json.loads(row.tags)),
        decisions=_read_decisions(row.decisions),
    )


def copy(row: Any) -> CopyRecord:
    """The record in a row of `copies`."""
    return CopyRecord(message=row.message, time=row.time, queue_id=row.queue_id, decisions=_read_decisions(row.decisions))


def visit(row: Any) -> VisitRecord:
    """The record in a row of `visits`."""
    names = ("message", "time", "number", "url", "destination", "ip", "protocol", "headers", "machine")
    fields: Mapping[str, Any] = {name: getattr(row, name) for name in names}
    return VisitRecord(kind=VisitKind(row.kind), **fields)


def text(value: object) -> str:
    """A text as both databases keep it. Raises BadRecord for anything else."""
    if not isinstance(value, str):
        raise BadRecord(f"a text is wanted, not {type(value).__name__}")
    if value.isascii():
        return value.replace("\0", "\ufffd") if "\0" in value else value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _plain(record: Record, *texts: str, numbers: tuple[str, ...]) -> Row:
    row: Row = {name: text(getattr(record, name)) for name in texts}
    if len(str(row.get("id", ""))) > LONGEST_ID:
        raise BadRecord(f"the identifier has more than {LONGEST_ID} characters")
    for name in numbers:
        value = getattr(record, name)
        if not isinstance(value, int) or not -_LARGEST <= value < _LARGEST:
            raise BadRecord(f"{name} is no whole number of 64 bits")
        row[name] = int(value)
    return row


def _decisions(decisions: tuple[Decision, ...]) -> str:
    return _WRITE([[text(word) for word in decision] for decision in decisions])


def _read_decisions(written: str) -> tuple[Decision, ...]:
    return tuple(Decision(*words) for words in json.loads(written))
