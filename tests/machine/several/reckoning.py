"""What was promised, what arrived, and what the journal has: compared by the addresses of recipients."""

import asyncio
import quopri
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import unescape

from machines.sink import Delivered, Sink

from .crowd import ACCEPTED, DOMAIN, UNKNOWN, Attempt

SLOW = 0.3  # seconds that a next hop takes for MAIL FROM

_LINK = re.compile(r'<a href="([^"]+)"')
_PICTURE = re.compile(r'<img src="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message at the next hop, when and from where. `links` and `pictures` are its URLs; the last picture is the pixel."""

    recipient: str
    peer: str
    time: float
    links: tuple[str, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """When a relay was killed, and when it answered again."""

    at: float
    back: float


class Gate(Sink):
    """A sink that notes when each message came. It is slow to begin, so that queues have something in them, and quick to
    acknowledge: what is killed in between is sent again (RFC 1047), and there is nothing to be done about that.
    """

    def __init__(self, host: str) -> None:
        self.times: list[float] = []
        super().__init__(host)

    async def handle_MAIL(self, server, session, envelope, address, mail_options) -> str:  # type: ignore[no-untyped-def]  # aiosmtpd's
        """Takes its time (called by aiosmtpd)."""
        await asyncio.sleep(SLOW)
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:  # type: ignore[no-untyped-def]  # aiosmtpd's
        """Keeps a message (called by aiosmtpd)."""
        self.times.append(time.time())
        return await super().handle_DATA(server, session, envelope)

    def arrivals(self) -> dict[str, list[Arrival]]:
        """What came so far, by recipient; only what a crowd sent."""
        found: dict[str, list[Arrival]] = defaultdict(list)
        # The time is noted first, so there are never fewer.
        for message, at in zip(tuple(self.delivered), self.times, strict=False):
            for recipient in message.recipients:
                if recipient.endswith(f"@{DOMAIN}"):
                    found[recipient].append(_arrival(message, recipient, at))
        return found


def _arrival(message: Delivered, recipient: str, at: float) -> Arrival:
    text = quopri.decodestring(message.raw.partition(b"\r\n\r\n")[2]).decode("utf-8", "replace")
    return Arrival(
        recipient=recipient,
        peer=message.peer,
        time=at,
        links=tuple(map(unescape, _LINK.findall(text))),
        pictures=tuple(map(unescape, _PICTURE.findall(text))),
    )


@dataclass(slots=True, kw_only=True)
class Reckoning:
    """The result. `twice` are deliveries whose acknowledgement a kill may have lost, `doubled` those that have no such excuse."""

    accepted: int = 0
    unknown: int = 0
    refused: int = 0
    delivered: int = 0
    unknown_delivered: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    never_sent: list[str] = field(default_factory=list)
    refused_yet_sent: list[str] = field(default_factory=list)
    not_recorded: list[str] = field(default_factory=list)
    recorded_twice: list[str] = field(default_factory=list)
    recorded_for_nothing: list[str] = field(default_factory=list)
    refused_yet_recorded: int = 0

    def wrong(self) -> dict[str, list[str]]:
        """Everything that must not be."""
        names = (
            *("lost", "doubled", "never_sent", "refused_yet_sent"),
            *("not_recorded", "recorded_twice", "recorded_for_nothing"),
        )
        return {name: found[:5] for name in names if (found := getattr(self, name))}


def reckon(
    attempts: Iterable[Attempt], arrivals: Mapping[str, list[Arrival]], recorded: Mapping[str, int], kills: Mapping[str, Kill]
) -> Reckoning:
    """Compares. `recorded` has the journal's rows by recipient, `kills` what was done to relays, by their addresses."""
    outcome = {recipient: attempt for attempt in attempts for recipient in attempt.recipients}
    found = Reckoning()
    for recipient, attempt in outcome.items():
        came, rows = arrivals.get(recipient, []), recorded.get(recipient, 0)
        found.delivered += len(came)
        if attempt.outcome == ACCEPTED:
            found.accepted += 1
            found.lost += [recipient] if not came else []
            found.not_recorded += [recipient] if not rows else []
        elif attempt.outcome == UNKNOWN:
            found.unknown += 1
            found.unknown_delivered += bool(came)
        else:
            found.refused += 1
            found.refused_yet_sent += [recipient] if came else []
            found.refused_yet_recorded += bool(rows)
        found.recorded_twice += [recipient] if rows > 1 else []
        if len(came) > 1:
            (found.twice if _excused(came, attempt, kills) else found.doubled).append(recipient)
        if came and not rows:
            found.not_recorded.append(recipient)
    found.never_sent = sorted(arrivals.keys() - outcome.keys())
    found.recorded_for_nothing = sorted(recorded.keys() - outcome.keys())
    return found


def _excused(came: list[Arrival], attempt: Attempt, kills: Mapping[str, Kill]) -> bool:
    """Whether all are one message, whose relay was killed between its acceptance and its last delivery."""
    same = len({(arrival.peer, arrival.links, arrival.pictures) for arrival in came}) == 1
    kill = kills.get(came[0].peer)
    return same and kill is not None and attempt.ended < kill.back and max(arrival.time for arrival in came) > kill.at
