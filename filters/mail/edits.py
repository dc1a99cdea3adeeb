"""The changes asked of the MTA, and what they make of a message.

Three edits suffice for everything a filter does. Their meaning is Postfix's (cleanup_milter.c), so `apply` tells what will
leave, and the system tests hold it against a real Postfix:

- a field is removed by its name and its place among the fields of that name, counted in the list as it then is;
- a field is inserted at a place in the list as it then is;
- the body is replaced whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from filters.mail.message import Field, Message


@dataclass(frozen=True, slots=True)
class RemoveField:
    """The `index`-th field of that name goes; 1 is the first."""

    name: bytes
    index: int


@dataclass(frozen=True, slots=True)
class InsertField:
    """A field is put before the one at `position`; 0 is the top, below the trace field of our own Postfix."""

    position: int
    field: Field


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """The body becomes this one."""

    body: bytes


Edit = RemoveField | InsertField | ReplaceBody


def diff(before: Message, after: Message) -> tuple[Edit, ...]:
    """Edits that make `after` of `before`: removals from the tail up, so that no index moves, then insertions, then the body."""
    return (*_field_edits(before.fields, after.fields), *_body_edits(before.body, after.body))


def apply(message: Message, edits: Iterable[Edit]) -> Message:
    """What the MTA makes of `message`. An edit that names a field or a place that does not exist raises IndexError."""
    fields: list[Field | None] = list(message.fields)
    body = message.body
    places: dict[bytes, list[int]] = {}  # of the fields of each name, as long as nothing moves them: time stays linear
    for edit in edits:
        match edit:
            case RemoveField(name, index):
                places = places or _places(fields)
                fields[places.get(name.lower(), []).pop(index - 1)] = None
            case InsertField(position, field):
                fields, places = [kept for kept in fields if kept], {}
                if position > len(fields):
                    raise IndexError(f"no place {position} in a header of {len(fields)} fields")
                fields.insert(position, field)
            case ReplaceBody(body):
                pass
    return Message(tuple(kept for kept in fields if kept), body)


def _places(fields: list[Field | None]) -> dict[bytes, list[int]]:
    found = defaultdict(list)
    for place, field in enumerate(fields):
        if field:
            found[field.name.lower()].append(place)
    return found


def _body_edits(before: bytes, after: bytes) -> tuple[Edit, ...]:
    return () if before is after or before == after else (ReplaceBody(after),)


def _field_edits(before: tuple[Field, ...], after: tuple[Field, ...]) -> list[Edit]:
    if before == after:
        return []
    kept: list[bool] = []
    inserted: list[Edit] = []
    position = 0
    for place, field in enumerate(after):
        try:
            found = before.index(field, position)
        except ValueError:
            inserted.append(InsertField(place, field))
            continue
        kept += [False] * (found - position) + [True]
        position = found + 1
    kept += [False] * (len(before) - position)
    return [*_removals(before, kept), *inserted]


def _removals(before: tuple[Field, ...], kept: list[bool]) -> list[Edit]:
    removed: list[Edit] = []
    seen: Counter[bytes] = Counter()
    for field, keep in zip(before, kept, strict=True):
        name = field.name.lower()
        seen[name] += 1
        if not keep:
            removed.append(RemoveField(name, seen[name]))
    removed.reverse()
    return removed
