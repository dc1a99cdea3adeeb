"""A person of somebody else's directory as a login: which attributes and groups say what.

What an attribute means goes by its name where directories differ: `userAccountControl` and `accountExpires` of Active
Directory, `shadowExpire` of RFC 2307bis, `proxyAddresses` of Exchange. All others hold words, and times as RFC 4517 writes them.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

from policy.identity import NOBODY
from policy.login import Login
from policy.options import FALSE_WORDS, InvalidOption, Options, settled
from policy.stores.entry import Entry, UnreadableEntry

Held = Literal["account", "label", "senders", "options", "expires", "disabled"]

MADE = "createTimestamp"  # RFC 4512 3.4.1

_ACCOUNTDISABLE = 2  # of userAccountControl (MS-ADTS 2.2.16)
_TO_1970 = 11_644_473_600  # seconds since 1601
_NEVER = (0, 2**63 - 1)  # accountExpires of an account that does not (MS-ADA1)
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What members of a group get. `dn` is in a form that can be compared; no account = the usual one."""

    dn: Hashable
    options: Mapping[str, str]
    account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """How an entry is read: which attribute holds account, label, senders, options, expires or disabled; what groups give;
    and the account of everybody else, "" = they are no login.
    """

    attributes: Mapping[Held, str]
    groups: tuple[Group, ...] = ()
    account: str = ""

    def login(self, name: str, entry: Entry, groups: Collection[Hashable]) -> Login | None:
        """The login of an entry whose person is in `groups`; None where nothing says what account pays. Raises
        UnreadableEntry.

        What the entry says comes before what its groups say, and an earlier group of the settings before a later one.
        """
        theirs = [group for group in self.groups if group.dn in groups]
        accounts = [self._text(entry, "account"), *(group.account for group in theirs), self.account]
        account = next(filter(None, accounts), "")
        if not account:
            return None
        options, forced = Options(), frozenset[str]()
        try:
            for words in (*(group.options for group in reversed(theirs)), self._options(entry)):
                options, forced = settled(options, forced, words)
        except InvalidOption as error:
            raise UnreadableEntry(str(error)) from error
        return Login(
            name=name,
            account=account,
            options=options,
            forced=forced,
            enabled=not self._disabled(entry),
            label=self._text(entry, "label"),
            created=entry.time(MADE) or 0,
            expires=self._expires(entry),
            senders=self._senders(entry),
            external=True,
        )

    def _text(self, entry: Entry, field: Held) -> str:
        """The first value: names of people and companies often have several."""
        return next(iter(self._texts(entry, field)), "")

    def _texts(self, entry: Entry, field: Held) -> tuple[str, ...]:
        return entry.texts(self.attributes[field]) if field in self.attributes else ()

    def _options(self, entry: Entry) -> dict[str, str]:
        words = [word.partition("=") for text in self._texts(entry, "options") for word in text.split()]
        return {name.lower(): word for name, _, word in words}

    def _senders(self, entry: Entry) -> tuple[str, ...]:
        found = []
        for text in self._texts(entry, "senders"):
            scheme, colon, address = text.rpartition(":")
            if not colon or scheme.lower() == "smtp":  # others are no addresses of mail
                found.append(address.strip().lower())
        listed = tuple(sorted(set(filter(None, found))))
        if not listed and "senders" in self.attributes:
            return (NOBODY,)  # an empty list would mean: as anybody
        return listed

    def _disabled(self, entry: Entry) -> bool:
        texts = self._texts(entry, "disabled")
        if self.attributes.get("disabled", "").lower() == "useraccountcontrol":
            return any(_number(text, "userAccountControl") & _ACCOUNTDISABLE for text in texts)
        return any(text.strip().lower() not in FALSE_WORDS for text in texts)

    def _expires(self, entry: Entry) -> int | None:
        attribute = self.attributes.get("expires", "")
        text = self._text(entry, "expires")
        if not text:
            return None
        match attribute.lower():
            case "accountexpires":
                ticks = _number(text, attribute)
                return None if ticks in _NEVER else ticks // 10_000_000 - _TO_1970
            case "shadowexpire":
                days = _number(text, attribute)
                return None if days < 0 else days * _DAY
            case _:
                return entry.time(attribute)


def _number(text: str, attribute: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UnreadableEntry(f"{attribute} cannot be {text!r}; it takes a number") from error
