"""The server side of SASL PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login) as small state machines.

`start` takes the initial response, None where the client sent none (RFC 4422 4.3.a); `feed` takes each answer to a
challenge. Both return the next step: a Challenge to send, the Credentials to compare, or Malformed, which is refused
without a comparison. Values are taken as sent, blanks included; nothing is folded or normalised.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from policy.password import MAX_LENGTH as MAX_PASSWORD

MAX_LOGIN = 255  # octets; RFC 4616 2: a server may bound what it accepts

USER_PROMPT = b"Username:"
PASSWORD_PROMPT = b"Password:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What the client is asked next; may be empty."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the client claims: both parts non-empty UTF-8 without NUL, within MAX_LOGIN and MAX_PASSWORD octets."""

    login: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """No credentials can be read. `why` is a fixed text for the log and holds nothing the client sent."""

    why: str


Step = Challenge | Credentials | Malformed


class Mechanism(Protocol):
    """One authentication exchange. It ends with Credentials or Malformed; after that it is not fed again."""

    def start(self, initial: bytes | None) -> Step:
        """The first step."""

    def feed(self, response: bytes) -> Step:
        """The step after a challenge was answered with `response`."""


def _credentials(login: bytes, password: bytes) -> Credentials | Malformed:
    if not login or not password:
        return Malformed(why="empty login or password")
    if len(login) > MAX_LOGIN or len(password) > MAX_PASSWORD:
        return Malformed(why="login or password too long")
    if b"\0" in login or b"\0" in password:
        return Malformed(why="NUL in login or password")
    try:
        password.decode("utf-8")
        return Credentials(login=login.decode("utf-8"), password=password)
    except UnicodeDecodeError:
        return Malformed(why="not UTF-8")


class Plain:
    """PLAIN: one message with everything in it."""

    def start(self, initial: bytes | None) -> Step:
        """Without an initial response the client is asked with an empty challenge (RFC 4616 2)."""
        return Challenge(data=b"") if initial is None else self.feed(initial)

    def feed(self, response: bytes) -> Step:
        """The credentials in `response`."""
        fields = response.split(b"\0")  # RFC 4616 2: message = [authzid] UTF8NUL authcid UTF8NUL passwd
        if len(fields) != 3:
            return Malformed(why="wrong number of NULs")
        authzid, authcid, passwd = fields
        # Nobody acts for somebody else here; some clients repeat their own name.
        if authzid not in (b"", authcid):
            return Malformed(why="authorization identity differs")
        return _credentials(authcid, passwd)


class Login:
    """LOGIN: the login, then the password. An initial response is the login (Windows clients, swaks)."""

    def __init__(self) -> None:
        self._login: bytes | None = None

    def start(self, initial: bytes | None) -> Step:
        """Asks for the login, or for the password where the login came along."""
        return Challenge(data=USER_PROMPT) if initial is None else self.feed(initial)

    def feed(self, response: bytes) -> Step:
        """Takes the login first, then the password."""
        if self._login is not None:
            return _credentials(self._login, response)
        if not response:
            return Malformed(why="empty login or password")
        self._login = response
        return Challenge(data=PASSWORD_PROMPT)


# In the order EHLO offers them.
MECHANISMS: Mapping[str, Callable[[], Mechanism]] = MappingProxyType({"PLAIN": Plain, "LOGIN": Login})
