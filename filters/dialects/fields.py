"""Reads the fields of other providers: whose a field is, and what it says, as readings that `filters.overrides` puts together.

Nothing in a field can refuse a message: what cannot be read is told in a warning, and the field goes all the same.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from filters.dialects.idle import ALWAYS_DONE, IDLE
from filters.dialects.switches import JSON_FIELDS, NAMESPACES, SWITCHES, Switch
from filters.mail.message import Field
from filters.reading import Rank, Reading
from filters.tags import decoded
from policy.login import Dialect
from policy.options import FALSE_WORDS

MAX_JSON = 10  # fields with JSON of one message that are read
MAX_DEPTH = 20  # of JSON; four is the deepest that is asked for
LONGEST_NAME = 60  # characters of a field's name in an event

_BRACKETS = re.compile(r'"(?:[^"\\]+|\\.?)*(?:"|\Z)|([\[{])|([\]}])', re.DOTALL)  # strings are skipped; it never goes back
_BY_PLACE = {(switch.dialect, switch.field.lower(), switch.path): switch for switch in SWITCHES}
_BRANCHES = {  # the paths above those of switches
    (switch.dialect, switch.path.rsplit(".", depth)[0]) for switch in SWITCHES for depth in range(1, switch.path.count(".") + 1)
}
_NOTHING = ("", "null", "[]", "{}")


def dialect_of(name: bytes, dialects: Collection[Dialect]) -> Dialect | None:
    """Which of the dialects a field belongs to, by its name; None where to none of them."""
    if not dialects:
        return None
    match = _names(frozenset(dialects)).fullmatch(name)
    return Dialect(str(match.lastgroup)) if match else None


def line_of(dialects: Collection[Dialect]) -> re.Pattern[bytes]:
    """What a line that is a field of one of the dialects begins with, well formed or not."""
    return _lines(frozenset(dialects))


def read_fields(fields: Iterable[Field], dialects: Collection[Dialect]) -> Iterator[Reading]:
    """What the fields of these dialects say, in their order."""
    documents = 0
    for field in fields:
        dialect = dialect_of(field.name, dialects)
        if dialect is None:
            continue
        name = field.name.lower().decode("ascii")
        documents += name in JSON_FIELDS
        text = decoded(field.text)
        if documents > MAX_JSON and name in JSON_FIELDS:
            yield _unread(dialect, name, f"more than {MAX_JSON} fields with JSON; the rest is not read")
        elif text is None:
            yield _unread(dialect, name, "value not understood; its encoded words cannot be read")
        elif name in JSON_FIELDS:
            yield from dict.fromkeys(_read_json(dialect, name, text)) or (_unread(dialect, name, ""),)
        else:
            yield _read(dialect, name, "", text)


def _read_json(dialect: Dialect, name: str, text: str) -> Iterator[Reading]:
    """What the entries of a field with JSON say."""
    document = _document(text)
    if document is None:
        yield _unread(dialect, name, "value not understood; it takes a JSON object")
        return
    unknown = 0
    for path, value in _entries(dialect, document, ""):
        if (dialect, name, path) in _BY_PLACE or _idle(dialect, path) is not None:
            yield _read(dialect, name, path, value)
        else:
            unknown += 1
    if unknown:
        yield _unread(dialect, name, f"{unknown} unknown entr{'ies' if unknown > 1 else 'y'}")


def _read(dialect: Dialect, name: str, path: str, value: Any) -> Reading:
    """What a field, or the entry at a path in one, says with that value."""
    switch = _BY_PLACE.get((dialect, name, path))
    if switch is not None:
        return _of_switch(switch, f"{name} {path}".rstrip(), value)
    idle = _idle(dialect, path or name)
    if idle is None:
        return _unread(dialect, name, "unknown field")
    # Of the path, which is the sender's text, no more than is known.
    known, lacking = idle
    asked = lacking and not _asks_nothing(value, ALWAYS_DONE.get(name, FALSE_WORDS))
    return _unread(dialect, f"{name} {known}" if path else name, lacking if asked else "")


def _of_switch(switch: Switch, subject: str, value: Any) -> Reading:
    texts = _texts(value)
    said = switch.read(texts) if texts is not None else None
    if said is None:
        return _unread(switch.dialect, subject, f"value not understood; it takes {switch.takes}")
    return Reading(by=switch.dialect.value, subject=subject, rank=switch.rank, said=said, warning=said.lacking)


def _unread(dialect: Dialect, subject: str, warning: str) -> Reading:
    return Reading(by=dialect.value, subject=subject[:LONGEST_NAME], rank=Rank.GENERAL, warning=warning)


def _idle(dialect: Dialect, name: str) -> tuple[str, str] | None:
    """The name under which a field or an entry is known to decide nothing, and what is not done; None for an unknown one."""
    whole, begun = _idle_names(dialect)
    if name in whole:
        return name, whole[name]
    return next(((f"{known}*", lacking) for known, lacking in begun.items() if name.startswith(known)), None)


@lru_cache
def _idle_names(dialect: Dialect) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The whole names, and the beginnings of those that have a star; in lower case."""
    known = {name.lower(): lacking for name, lacking in IDLE[dialect].items()}
    begun = {name.removesuffix("*"): lacking for name, lacking in known.items() if name.endswith("*")}
    return {name: lacking for name, lacking in known.items() if not name.endswith("*")}, begun


def _asks_nothing(value: Any, harmless: Collection[str]) -> bool:
    """Whether a value says no, or nothing at all; a filter of SendGrid says it by its own switch."""
    if isinstance(value, Mapping) and isinstance(settings := value.get("settings"), Mapping):
        value = settings.get("enable", True)
    texts = _texts(value)
    return not value or (texts is not None and len(texts) == 1 and texts[0].strip().lower() in (*harmless, *_NOTHING))


def _texts(value: Any) -> tuple[str, ...] | None:
    """A value of JSON as texts, one of each in a list; None for what cannot be: null, an object, a list of such, a fraction."""
    match value:
        case bool():
            return (str(value).lower(),)
        case str() | int():
            return (str(value),)
        case list():
            found = [_texts(each) for each in value if not isinstance(each, list)]
            texts = [text for each in found if each is not None for text in each]
            return tuple(texts) if len(texts) == len(value) else None
    return None


def _document(text: str) -> Mapping[str, Any] | None:
    """The JSON object a text is (RFC 8259), or None. Of two entries with one name the last counts."""
    if _depth(text) > MAX_DEPTH:
        return None
    try:
        # Folding may have put a tab into a string.
        found = json.loads(text, strict=False, parse_constant=_refuse)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        if match[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif match[2]:
            depth -= 1
    return deepest


def _entries(dialect: Dialect, value: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    """The entries of an object with their paths; objects on the way to a switch are gone into, others are entries."""
    for key, entry in value.items():
        path = f"{above}{key.replace('.', ' ')}"  # a dot of the sender's makes no path
        if isinstance(entry, Mapping) and (dialect, path) in _BRANCHES:
            yield from _entries(dialect, entry, f"{path}.")
        else:
            yield path, entry


@lru_cache
def _names(dialects: frozenset[Dialect]) -> re.Pattern[bytes]:
    return re.compile("|".join(f"(?P<{each}>{_name(NAMESPACES[each])})" for each in sorted(dialects)).encode(), re.IGNORECASE)


@lru_cache
def _lines(dialects: frozenset[Dialect]) -> re.Pattern[bytes]:
    names = "|".join(_name(NAMESPACES[each], "[^: \\t\\r\\n]*") for each in sorted(dialects))
    return re.compile(rf"[^!-~]*(?:{names})[ \t]*(?::|\Z)".encode(), re.IGNORECASE)


def _name(names: Sequence[str], rest: str = "[!-9;-~]*") -> str:
    return "|".join(re.escape(name) + (rest if name.endswith("-") else "") for name in names)
