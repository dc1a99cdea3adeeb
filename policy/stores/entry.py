"""An entry of a directory (RFC 4512 2) and the values in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# RFC 4517 3.3.13, as directories write it: seconds, perhaps a fraction, UTC.
_GENERALIZED = re.compile(r"([0-9]{14})(?:[.,][0-9]+)?Z")
_PARTS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))


class UnreadableEntry(ValueError):
    """A value of an entry is not what it should be; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: its name, and its values by attribute in lower case."""

    dn: str
    values: Mapping[str, tuple[bytes, ...]]

    def texts(self, attribute: str) -> tuple[str, ...]:
        """The values of an attribute. Raises UnreadableEntry where one is no UTF-8."""
        try:
            return tuple(value.decode() for value in self.values.get(attribute.lower(), ()))
        except UnicodeDecodeError as error:
            raise UnreadableEntry(f"{attribute} is no UTF-8") from error

    def text(self, attribute: str, default: str = "") -> str:
        """The only value of an attribute, `default` for none. Raises UnreadableEntry where it has several."""
        found = self.texts(attribute)
        if len(found) > 1:
            raise UnreadableEntry(f"{attribute} has {len(found)} values instead of one")
        return found[0] if found else default

    def time(self, attribute: str) -> int | None:
        """The time in an attribute, None for none. Raises UnreadableEntry."""
        text = self.text(attribute)
        return seconds(text, attribute) if text else None


def seconds(text: str, attribute: str) -> int:
    """UTC, seconds since 1970, of a generalized time. Raises UnreadableEntry."""
    match = _GENERALIZED.fullmatch(text)
    try:
        if match:
            # Not strptime: it takes signs and blanks for digits, and reads the locale.
            year, *rest = (int(match[1][start:end]) for start, end in _PARTS)
            month, day, hour, minute, second = rest
            at = datetime(year, month, day, hour, minute, tzinfo=UTC) + timedelta(seconds=second)  # a leap second has 60
            return int(at.timestamp())
    except (ValueError, OverflowError):
        pass
    raise UnreadableEntry(f"{attribute} cannot be {text!r}; it takes a time such as 20300101000000Z")


def generalized(time: int) -> str:
    """The generalized time of seconds since 1970, the inverse of `seconds`."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time):%Y%m%d%H%M%S}Z"
