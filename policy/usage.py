"""How much of a limit is used, and when it frees itself.

What was accepted is counted by the minute (UTC, since 1970). A limit holds for every window of its length, to the second: so a
minute counts until its last second has left the window, which is one minute longer than the window is. Minutes yet to come
count too: a clock that was set back gives nobody more than the limit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from policy.account import Account
from policy.limits import Limits
from policy.login import Login


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A limit for a time: its field in Limits, what it counts (a field of Amount), how long it looks back, and its words."""

    limit: str
    counts: str
    minutes: int
    words: str

    def oldest(self, now: int) -> int:
        """The oldest minute that counts in the minute `now`."""
        return now - self.minutes

    def freed(self, minute: int) -> int:
        """The first minute in which `minute` counts no more."""
        return minute + self.minutes + 1


WINDOWS = (
    Window(limit="messages_hour", counts="messages", minutes=60, words="messages an hour"),
    Window(limit="recipients_day", counts="recipients", minutes=24 * 60, words="recipients a day"),
)
LONGEST = max(window.minutes for window in WINDOWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What one message uses."""

    messages: int
    recipients: int


class Bucket(NamedTuple):
    """How much was accepted in a minute."""

    minute: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whose limits they are: `kind` is "login" or "account"."""

    kind: str
    name: str
    limits: Limits

    @property
    def subject(self) -> str:
        """What it is counted as."""
        return f"{self.kind} {self.name}"

    def allowed(self, window: Window) -> int | None:
        """The number of its limit, None where it has none."""
        found: int | None = getattr(self.limits, window.limit)
        return found

    @property
    def counted(self) -> bool:
        """Whether what it sends must be counted."""
        return any(self.allowed(window) is not None for window in WINDOWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """A limit that a message would pass. `free` is the minute in which there is room for it, None where there never is."""

    holder: Holder
    window: Window
    allowed: int
    free: int | None


def holders(login: Login, account: Account) -> tuple[Holder, Holder]:
    """The two whose limits a message must keep: its login and its account."""
    return (
        Holder(kind="login", name=login.name, limits=login.limits),
        Holder(kind="account", name=account.name, limits=account.limits),
    )


def free_at(buckets: Iterable[Bucket], window: Window, *, needed: int, allowed: int, now: int) -> int | None:
    """The first minute from `now` on in which `needed` more fit if nothing else is accepted; None where they never do."""
    if needed > allowed:
        return None
    counting = sorted(bucket for bucket in buckets if bucket.minute >= window.oldest(now))
    used, free = sum(bucket.number for bucket in counting), now
    for minute, number in counting:
        if used + needed <= allowed:
            break
        used -= number
        free = window.freed(minute)
    return free


def latest(found: Iterable[Excess]) -> Excess | None:
    """The one that must be waited for the longest, None where there is none."""
    return max(found, key=lambda excess: (excess.free is None, excess.free or 0), default=None)
