"""One message's life: what the journal and Postfix's log have of it, as a timeline for people and as JSON."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from journal.event import Decision
from journal.records import CopyRecord, MessageRecord, VisitKind, VisitRecord
from smtpeter.mail_log import Delivery
from smtpeter.output import utc

_TIME = len("2026-01-31 23:59:59")
_WORD = len("delivered")

Of = TypeVar("Of", CopyRecord, VisitRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A message to one recipient, and what became of it, each part oldest first."""

    message: MessageRecord
    copies: tuple[CopyRecord, ...]
    deliveries: tuple[Delivery, ...]
    visits: tuple[VisitRecord, ...]


def lives(
    messages: Sequence[MessageRecord],
    copies: Iterable[CopyRecord],
    deliveries: Iterable[Delivery],
    visits: Iterable[VisitRecord],
) -> Iterator[Life]:
    """Sorts what was found for several messages out to each of them, in the order of `messages`."""
    copied, visited = _by_message(copies), _by_message(visits)
    attempts: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        attempts.setdefault(delivery.queue_id, []).append(delivery)
    for message in messages:
        own = copied.get(message.id, [])
        ids = dict.fromkeys((message.queue_id, *(copy.queue_id for copy in own)))
        found = [
            delivery
            for queue_id in ids
            for delivery in attempts.get(queue_id, ())
            if _concerns(delivery, message) and not _hands_over(delivery, own)
        ]
        found.sort(key=lambda delivery: delivery.time)
        yield Life(
            message=message,
            copies=tuple(own),
            deliveries=tuple(found),
            visits=tuple(visited.get(message.id, ())),
        )


def as_json(life: Life) -> dict[str, Any]:
    """The life as JSON has it; times are text, UTC."""
    return {
        **_timed(life.message),
        "copies": [_timed(copy) for copy in life.copies],
        "deliveries": [_timed(delivery) for delivery in life.deliveries],
        "visits": [_timed(visit) for visit in life.visits],
    }


def timeline(life: Life) -> Iterator[str]:
    """The life as lines of text: a heading, then what happened in the order it did."""
    message = life.message
    yield f"{plain(message.message_id) or 'message'} to {plain(message.recipient)}"
    steps = [(message.time, "accepted", _accepted(message))]
    steps += [(copy.time, "copied", _copied(copy, message)) for copy in life.copies]
    steps += [(delivery.time, *_delivered(delivery)) for delivery in life.deliveries]
    steps += [(visit.time, *_visited(visit)) for visit in life.visits]
    for time, word, lines in sorted(steps, key=lambda step: step[0]):
        for place, line in enumerate(lines):
            before = f"{utc(time)}  {word:<{_WORD}}" if place == 0 else " " * (_TIME + 2 + _WORD)
            yield f"  {before}  {line}"


def plain(text: str) -> str:
    """A text of a client's or visitor's as it can be printed: nothing in it steers the terminal."""
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)


def _accepted(message: MessageRecord) -> list[str]:
    lines = [
        f"from <{plain(message.envelope)}> as {message.queue_id}",
        f"login {plain(message.login)} of account {plain(message.account)}",
    ]
    if message.properties:
        lines.append(f"options: {plain(' '.join(message.properties))}")
    if message.tags:
        lines.append(f"tags: {plain(', '.join(message.tags))}")
    return [*lines, *map(_decision, message.decisions)]


def _copied(copy: CopyRecord, message: MessageRecord) -> list[str]:
    """The decisions only where the first pass, which serves all recipients, has not made them."""
    own = [decision for decision in copy.decisions if decision not in message.decisions]
    return [f"for this recipient, as {copy.queue_id}", *map(_decision, own)]


def _decision(decision: Decision) -> str:
    reason = f": {plain(decision.reason)}" if decision.reason else ""
    return f"{plain(decision.feature)} {decision.outcome} ({decision.by}){reason}"


def _delivered(delivery: Delivery) -> tuple[str, list[str]]:
    word = "delivered" if delivery.status == "sent" else delivery.status
    where = f"by {plain(delivery.relay)} " if delivery.relay not in ("", "none") else ""
    return word, [f"{where}{delivery.dsn}{' ' if delivery.dsn else ''}({plain(delivery.text)}), {delivery.queue_id}"]


def _visited(visit: VisitRecord) -> tuple[str, list[str]]:
    who = ("a machine" if visit.machine else "a person") + (f" at {plain(visit.ip)}" if visit.ip else "")
    if visit.kind is VisitKind.CLICK:
        return "clicked", [f"link {visit.number} to {plain(visit.destination)}, {who}"]
    what = f"picture {visit.number}" if visit.number else "pixel"
    return "opened", [f"{what}{f' of {plain(visit.destination)}' if visit.destination else ''}, {who}"]


def _concerns(delivery: Delivery, message: MessageRecord) -> bool:
    return delivery.recipient.casefold() in ("", message.recipient.casefold())


def _hands_over(delivery: Delivery, copies: Iterable[CopyRecord]) -> bool:
    """Whether it is the hop to our own second listener: no delivery to anybody."""
    return any(delivery.text.endswith(f"queued as {copy.queue_id}") for copy in copies)


def _by_message(records: Iterable[Of]) -> dict[str, list[Of]]:
    found: dict[str, list[Of]] = {}
    for record in records:
        found.setdefault(record.message, []).append(record)
    return found


def _timed(record: MessageRecord | CopyRecord | Delivery | VisitRecord) -> dict[str, Any]:
    fields = asdict(record)
    decisions = [decision._asdict() for decision in getattr(record, "decisions", ())]
    return fields | {"time": utc(record.time)} | ({"decisions": decisions} if "decisions" in fields else {})
