"""One message accepted from a login, on its way through the filters: what is known of it, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

from filters.mail.edits import Edit
from filters.mail.message import Field, Message
from journal.event import Event, Kind
from policy.options import Options


class Signer(Protocol):
    """Adds one DKIM signature; made by the adapter from a signing key."""

    @property
    def domain(self) -> str:
        """The `d=` tag."""

    @property
    def selector(self) -> str:
        """The `s=` tag."""

    def sign(self, message: Message, now: int) -> Field:
        """The DKIM-Signature field for `message` as it will leave; `now` becomes the `t=` tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What MAIL and RCPT said (RFC 5321 3.3), without angle brackets."""

    mail_from: str
    rcpt_to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a filter needs besides the message. `now` is UTC, seconds since 1970.

    `signers` gives the signers of a From domain; empty where the account has none.
    """

    signers: Callable[[str], tuple[Signer, ...]]
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One message on its way. `options` are those in force: the login's, changed by the message's own fields."""

    login: str
    account: str
    envelope: Envelope
    options: Options
    message: Message
    tags: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()

    def noting(self, kind: Kind, subject: str, reason: str = "") -> Self:
        """This job with one more event."""
        return replace(self, events=(*self.events, Event(kind=kind, subject=subject, reason=reason)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What leaves: the job after the last filter, and the edits that make its message of the one received."""

    job: Job
    edits: tuple[Edit, ...]
