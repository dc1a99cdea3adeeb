"""Limits of a login or an account: each one once, with its name, its unit and what it counts.

Mail is counted in recipients, since each one is a message to the world; a limit that is None does not limit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

NONE = "none"
LARGEST = 2**31 - 1  # what every database keeps as an integer

_NUMBER = re.compile(r"([0-9]{1,10})([kMG]?)")
_UNITS = {"": 1, "k": 1024, "M": 1024**2, "G": 1024**3}


class InvalidLimit(ValueError):
    """A limit has no such value; the message names the limit, the value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a login or an account may send. `message_size` is in octets."""

    messages_hour: int | None = None
    recipients_day: int | None = None
    recipients_message: int | None = None
    message_size: int | None = None
    sessions: int | None = None

    def with_words(self, words: Mapping[str, str]) -> Self:
        """These limits with some set from text, name to word. Raises InvalidLimit for an unknown name or word."""
        changes: dict[str, int | None] = {}
        for name, word in words.items():
            limit = BY_NAME.get(name)
            if limit is None:
                raise InvalidLimit(f"there is no limit {name!r}; the limits are {', '.join(BY_NAME)}")
            changes[limit.field] = limit.parse(word)
        return replace(self, **changes)

    def as_words(self) -> dict[str, str]:
        """Every limit and its word, the inverse of `with_words`."""
        values = {limit.name: getattr(self, limit.field) for limit in LIMITS}
        return {name: NONE if value is None else str(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit: its name, and what it counts, in one sentence."""

    name: str
    counts: str

    @property
    def field(self) -> str:
        """Its name in Limits."""
        return self.name.replace("-", "_")

    def parse(self, word: str) -> int | None:
        """The number a word stands for, None for "none". Raises InvalidLimit."""
        text = word.strip()
        if text.lower() == NONE:
            return None
        match = _NUMBER.fullmatch(text)
        number = int(match[1]) * _UNITS[match[2]] if match and (not match[2] or self.name == "message-size") else 0
        if not 1 <= number <= LARGEST:
            sizes = ", or octets with k, M or G" if self.name == "message-size" else ""
            raise InvalidLimit(f"{self.name} cannot be {text!r}; it takes a number from 1 to {LARGEST}{sizes}, or {NONE}")
        return number


LIMITS = (
    Limit(name="messages-hour", counts="messages accepted within any hour"),
    Limit(name="recipients-day", counts="recipients of messages accepted within any 24 hours"),
    Limit(name="recipients-message", counts="recipients of one message"),
    Limit(name="message-size", counts="octets of one message"),
    Limit(name="sessions", counts="sessions that send at the same time"),
)
BY_NAME = {limit.name: limit for limit in LIMITS}

if tuple(limit.field for limit in LIMITS) != tuple(field.name for field in fields(Limits)):
    raise AssertionError("LIMITS and the fields of Limits must agree")
