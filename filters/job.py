"""One message accepted from a login, on its way through the filters: what is known of it, and what came of it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

from filters.mail.edits import Edit
from filters.mail.message import Field, Message
from journal.event import Event, Kind
from journal.links import RECIPIENT_LENGTH
from journal.seal import Ring
from policy.identity import Identity
from policy.login import Dialect
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
class Tracking:
    """Where the links of one sender domain lead: `base` is scheme and click host, `hosts` are all click hosts of ours.

    `refusal` says why nothing is to lead there now, "" where it may.
    """

    base: str
    hosts: frozenset[str]
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a filter needs besides the message. `now` is UTC, seconds since 1970.

    `signers` gives the signers for the address in From, "" where there is none; empty where the account has no key for it.
    `tracking` gives the click host of a From domain, the service's own for a domain the account does not have, or for "".
    `ring` seals identifiers. `identity` is as whom the message may be from; None where that was asked before.
    """

    signers: Callable[[str], tuple[Signer, ...]]
    tracking: Callable[[str], Tracking]
    ring: Ring
    now: int
    identity: Identity | None = None


class Link(NamedTuple):
    """One link or image of the message that tracking looked at: where it led, and where it leads now.

    `number` is what is sealed in the new one, 0 where there is none; `reason` then says why it was left as it is.
    """

    number: int
    image: bool
    before: str
    after: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFile:
    """A picture that was taken out of the message, under the name it is served by."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One message on its way. `options` are those in force: the login's, changed by the message's own fields.

    `forced` names the options that its own fields cannot change, `dialects` whose other switches they may use; `decided_by`
    tells by option who decided it, where that is not the login alone. `seed` is 16 random octets, from which each
    recipient's identifier is made; `queue_id` is the one the client was told. `copy` tells that this is the second pass over
    a split message, for one recipient: what serves all recipients was done in the first one.
    """

    login: str
    account: str
    envelope: Envelope
    options: Options
    message: Message
    seed: bytes = bytes(16)
    queue_id: str = ""
    copy: bool = False
    forced: frozenset[str] = frozenset()
    dialects: frozenset[Dialect] = frozenset()
    decided_by: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    images: tuple[HostedFile, ...] = ()

    @property
    def recipient(self) -> bytes:
        """The identifier of the only recipient. Raises ValueError where there are several."""
        (address,) = self.recipients
        return self.recipients[address]

    @property
    def recipients(self) -> Mapping[str, bytes]:
        """Each recipient's address and identifier; addresses that differ only in case are one recipient, as to Postfix."""
        found: dict[str, tuple[str, bytes]] = {}
        for address in self.envelope.rcpt_to:
            folded = address.casefold()
            if folded not in found:
                identifier = hashlib.blake2b(folded.encode(), key=self.seed, digest_size=RECIPIENT_LENGTH).digest()
                found[folded] = (address, identifier)
        return MappingProxyType(dict(found.values()))

    def noting(self, kind: Kind, subject: str, reason: str = "") -> Self:
        """This job with one more event."""
        return replace(self, events=(*self.events, Event(kind=kind, subject=subject, reason=reason)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What leaves: the job after the last filter, and the edits that make its message of the one received.

    `split` tells that it goes to our own second listener, once for each recipient, where the rest is done.
    """

    job: Job
    edits: tuple[Edit, ...]
    split: bool = False
