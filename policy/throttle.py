"""Guessing passwords is slow, and soon over; whoever knows his password never notices.

Failures are counted by login name, whether there is such a login or not, and by address. Each of them has a budget: a guess is
compared only where both have something left, and a failure takes it from both. A place from which a login has succeeded is
judged by itself: nobody elsewhere can use up what its owner needs, and nobody there what others need.

A failure is answered at one of a few fixed moments after the attempt arrived, so that how long the comparison took cannot be
seen. Everything here is counted in memory, in bounded memory, and forgotten at a restart.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum, auto

BUDGET = 20  # failures
REFILL = 3600.0  # seconds in which a whole budget comes back, little by little
FLOOR = 0.5  # seconds from the arrival to the answer of a first failure; it doubles with each one
LONGEST = 8.0  # seconds; Postfix waits for 10 and then reports trouble of ours
IN_TURN = 4  # attempts of one login from a place it is known at that are in hand at once; the others wait for their turn
REPEATED = 10  # wrong passwords of a login that cost nothing when they are tried again: a telephone with an old one
REPEATS = 32  # of all logins, in hand at once until they are answered: what costs nothing takes a processor's time all the same
CAPACITY = 100_000  # entries, about 400 octets each


class Admission(Enum):
    """What is done with an attempt. One that WAITs is asked about again whenever another one has ended."""

    COMPARE = auto()
    WAIT = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A password that somebody says is the one of `login`, at `place` (see `policy.login.neighbourhood`; "" = not known).

    `digest` is a keyed digest of login and password, `known` whether the login has succeeded at that place.
    """

    login: str
    place: str
    digest: bytes = field(repr=False)
    known: bool


@dataclass(slots=True)
class _Entry:
    """What is known of a login, an address, or a login at a place. `spent` and `failures` fade at the same pace.

    `in_hand` are attempts that have not ended, `reserved` what they take from the budget should they fail.
    """

    time: float
    spent: float = 0.0
    failures: float = 0.0
    in_hand: int = 0
    reserved: int = 0
    wrong: deque[bytes] | None = None

    def fade(self, now: float) -> None:
        """Takes away what the time since the last look gives back."""
        regained = max(0.0, now - self.time) * BUDGET / REFILL
        self.spent = max(0.0, self.spent - regained)
        self.failures = max(0.0, self.failures - regained)
        self.time = max(self.time, now)

    def stops(self) -> Admission:
        """What an attempt may hope for that the budget has no room for: that one of those in hand succeeds, or nothing."""
        return Admission.WAIT if self.spent + 1 <= BUDGET else Admission.CLOSE


@dataclass(slots=True)
class Ticket:
    """A guess that is being compared; `cost` is what a failure takes from the budgets."""

    guess: Guess
    cost: int
    keys: tuple[tuple[str, ...], ...]
    open: bool = True

    @property
    def repeats(self) -> bool:
        """Whether it is a password that is known to be wrong."""
        return not self.cost and not self.guess.known


class Throttle:
    """The failures of the last hour. Times are seconds of one clock of the caller's that never goes back.

    `floor` and `longest` are seconds from the arrival of an attempt to its answer, at least and at most.
    """

    def __init__(self, *, floor: float = FLOOR, longest: float = LONGEST, capacity: int = CAPACITY) -> None:
        self._floor, self._longest, self._capacity = floor, longest, capacity
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()  # the least recently touched first
        self._repeats = 0  # open tickets of passwords known to be wrong

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, guess: Guess, now: float) -> Ticket | Admission:
        """A ticket for a guess that may be compared now, which `leave` takes back; else WAIT or CLOSE."""
        keys = _keys(guess)
        # Only looked at: an attempt that is stopped leaves no entry of its own behind.
        found = [entry for key in keys if (entry := self._seen(key, now)) is not None]
        if guess.known:
            cost, stopped = 0, [Admission.WAIT for entry in found if entry.in_hand >= IN_TURN]
        else:
            cost = 0 if self._repeated(guess) else 1
            stopped = [entry.stops() for entry in found if cost and entry.spent + entry.reserved + 1 > BUDGET]
            if not cost and self._repeats >= REPEATS:
                stopped = [Admission.CLOSE]
        if stopped:
            return Admission.CLOSE if Admission.CLOSE in stopped else Admission.WAIT
        for key in keys:
            entry = self._entry(key, now)
            entry.in_hand += 1
            entry.reserved += cost
        ticket = Ticket(guess, cost, keys)
        self._repeats += ticket.repeats
        return ticket

    def fail(self, ticket: Ticket, now: float) -> float:
        """Counts the failure of a ticket that is still open. Returns the earliest moment of its answer, in seconds from its
        arrival.

        One that costs nothing stays in hand until `leave`, any other makes room at once.
        """
        level = 0.0
        for key in ticket.keys:
            entry = self._entry(key, now)
            level = max(level, entry.failures)
            entry.failures = min(entry.failures + 1, BUDGET)
            entry.spent += ticket.cost
        if not ticket.guess.known:
            self._remember(ticket.guess)
        if ticket.cost:
            self.leave(ticket)
        return min(self._floor * 2.0 ** math.ceil(level), self._longest)

    def leave(self, ticket: Ticket) -> None:
        """Ends an attempt, however it ended. A second time it does nothing."""
        if not ticket.open:
            return
        ticket.open = False
        self._repeats -= ticket.repeats
        for key in ticket.keys:
            entry = self._entries[key]
            entry.in_hand -= 1
            entry.reserved -= ticket.cost

    def moment(self, step: float, elapsed: float) -> float:
        """When an answer is due that `fail` puts at `step`, in seconds from arrival, where `elapsed` have passed already."""
        while step < elapsed and step < self._longest:
            step *= 2
        return min(step, self._longest)

    def _repeated(self, guess: Guess) -> bool:
        entry = self._entries.get(("login", guess.login))
        return entry is not None and entry.wrong is not None and guess.digest in entry.wrong

    def _remember(self, guess: Guess) -> None:
        entry = self._entries["login", guess.login]
        if entry.wrong is None:
            entry.wrong = deque(maxlen=REPEATED)
        if guess.digest not in entry.wrong:
            entry.wrong.append(guess.digest)

    def _seen(self, key: tuple[str, ...], now: float) -> _Entry | None:
        return self._entry(key, now) if key in self._entries else None

    def _entry(self, key: tuple[str, ...], now: float) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._capacity:
                self._make_room()
            entry = self._entries[key] = _Entry(now)
        self._entries.move_to_end(key)
        entry.fade(now)
        return entry

    def _make_room(self) -> None:
        # What is in hand is bounded by whoever compares, so this finds one after a few.
        oldest = next((key for key, entry in self._entries.items() if not entry.in_hand), None)
        if oldest is not None:
            del self._entries[oldest]


def _keys(guess: Guess) -> tuple[tuple[str, ...], ...]:
    if guess.known:
        return (("login at place", guess.login, guess.place),)
    # Without an address only the login counts, or all who come without one would share a budget.
    return (("login", guess.login), ("place", guess.place)) if guess.place else (("login", guess.login),)
