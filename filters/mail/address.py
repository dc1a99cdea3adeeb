"""The author of a message: the first address in its From field."""

from functools import lru_cache

from filters.mail.address_list import parse, unfolded
from filters.mail.message import Message
from policy.domains import DOMAIN
from policy.mailbox import Doubtful
from policy.reply import Refused, malformed

_USUAL = 300  # octets of a From field that is remembered: it is asked for by several filters, and comes again


def author_domain(message: Message) -> str:
    """The domain of the From field of `message`; "" where there is none or it is in doubt. Raises Refused for two From fields."""
    return author_address(message).rpartition("@")[2]


def author_address(message: Message) -> str:
    """The first address in From: local part without quotes, "@", and domain as in `author_domain`; "" and Refused as there."""
    value = only_value(message, "From")
    return _remembered(value) if len(value) <= _USUAL else from_address(value)


def only_value(message: Message, field: str) -> bytes:
    """The value of a field that a message has once, b"" where it has none. Raises Refused where there are two.

    Which of two a reader shows is not ours to guess.
    """
    found = tuple(message.all(field.encode()))
    if len(found) > 1:
        raise Refused(malformed(f"This message has more than one {field} field"))
    return found[0].value if found else b""


def from_domain(field_value: bytes) -> str:
    """The domain of the first mailbox in a From field: ASCII form, lower case; "" where there is none or it is in doubt."""
    return from_address(field_value).rpartition("@")[2]


def from_address(field_value: bytes) -> str:
    """The address of the first mailbox in a From field, as in `author_address`; "" where there is none or it is in doubt."""
    try:
        first = next(iter(parse(unfolded(field_value)).mailboxes()), None)
    except Doubtful:
        return ""
    return f"{first.local}@{first.domain}" if first and DOMAIN.fullmatch(first.domain) else ""


_remembered = lru_cache(maxsize=256)(from_address)
