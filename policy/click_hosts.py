"""Click hosts: may a certificate be fetched for one, and may links lead there? Decided by what a look at it found, and before.

A host is good at once when a look finds it so. It stops being used when looks have failed for a while: one that fails alone
says more about the network in between, and every change of a host's state costs the caches that follow the database.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from policy.domains import SenderDomain

GRACE = 240  # seconds of failing that change nothing: with a look every five minutes, the first failure
UNANSWERED = 3600  # the same where the DNS did not answer: our own name server fails more often than everybody's


EVERY = 300  # seconds between two looks
OFTEN = 3600  # seconds that a bad host is visited at every look
SELDOM = 1800  # seconds between two visits afterwards


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ClickHost:
    """Where tracked links lead: a host, perhaps with a port, and how links to it begin."""

    host: str
    https: bool

    @property
    def base(self) -> str:
        """Scheme and host, as links to it begin."""
        return f"{'https' if self.https else 'http'}://{self.host}"


class State(StrEnum):
    """How a click host is. Links lead to all but bad ones."""

    OK = "ok"
    WARNING = "warning"  # it works, and something will not do so for long
    FAILING = "failing"  # looks fail, not for long enough yet
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found. `certificates`: the DNS leads here, so a certificate may be fetched; `links`: what a visitor needs
    is there: DNS, a valid certificate, our own answer.

    `reason` is a sentence without its end: why not, or where `links` holds, a warning, or "". `answered` tells that the DNS did.
    """

    certificates: bool
    links: bool
    reason: str = ""
    answered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHealth:
    """The state of a click host: `certificates`, `links` and `reason` as in Look, but for the grace.

    `failing` is since when looks fail, None where the last one did not; `changed` is since when all of this is so. Times: UTC,
    seconds since 1970.
    """

    host: str
    https: bool
    certificates: bool
    links: bool
    reason: str = ""
    failing: int | None = None
    changed: int = 0

    @property
    def place(self) -> ClickHost:
        """Which click host this is."""
        return ClickHost(host=self.host, https=self.https)

    @property
    def state(self) -> State:
        """What it comes to."""
        if not self.links:
            return State.BAD
        if self.failing is not None:
            return State.FAILING
        return State.WARNING if self.reason else State.OK


def judged(place: ClickHost, before: HostHealth | None, look: Look, now: int) -> HostHealth:
    """The state after a look; `before` is None for a host that was never looked at. The same value where nothing has changed."""
    failing = None
    certificates, links = look.certificates, look.links
    if not look.links:
        # A clock that was set back must not make the grace longer.
        failing = now if before is None or before.failing is None else min(before.failing, now)
        if before is not None and now - failing < (GRACE if look.answered else UNANSWERED):
            certificates, links = certificates or before.certificates, before.links
    found = HostHealth(
        host=place.host,
        https=place.https,
        certificates=certificates,
        links=links,
        reason=look.reason,
        failing=failing,
        changed=now if before is None else before.changed,
    )
    if found == before:
        return before
    return replace(found, changed=now)


def is_due(place: ClickHost, before: HostHealth | None, now: int) -> bool:
    """Whether a host whose DNS is in order is to be visited now. One that has been bad for long is visited less often: each visit
    may have the web server in front ask for a certificate, and who asks in vain too often is refused for hours.
    """
    if before is None or before.links or before.failing is None or not before.certificates or not place.https:
        return True
    return now - before.failing < OFTEN or now % SELDOM < EVERY


def refusal(host: str, found: HostHealth | None) -> str:
    """Why links are not to lead to a click host, "" where they may; `found` is its state, None where nobody has looked."""
    if found is None:
        return f"click host {host}: it has not been looked at yet"
    return "" if found.links else f"click host {host}: {found.reason}"


def click_hosts(domains: Iterable[SenderDomain], own: ClickHost) -> tuple[ClickHost, ...]:
    """The click hosts of sender domains and the service's `own`, each once, in the order of their names."""
    theirs = {ClickHost(host=domain.clicks, https=domain.https) for domain in domains if domain.clicks}
    return tuple(sorted({*theirs, own}))
