"""What the limits of a login and its account say: to the gate before the message is there, to the milter at its end.

All questions to the usage database are asked on one thread of our own, so that one that is away or locked holds up nobody but
those who have limits. Nobody else causes a question at all.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from policy.reply import (
    Refused,
    Reply,
    limit_reached,
    limit_too_small,
    too_large,
    too_many_recipients,
    too_many_sessions,
)
from policy.stores import StoreUnavailable
from policy.stores.usage import Seat, UsageStore
from policy.usage import Amount, Excess, Holder

log = logging.getLogger("smtpeter.limits")

PATIENCE = 2.0  # seconds to wait for a database that has nobody else to answer
TIDY = 60  # minutes between two looks for counts that are too old to matter

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was counted for a message, to be given back where it is not accepted after all."""

    holders: tuple[Holder, ...]
    amount: Amount
    minute: int


class Limiter:
    """Limits against what is counted in a usage database; from any thread, but not from an event loop's.

    `place` is who has sessions here, the same name when started again. `clock` tells UTC, seconds since 1970. Nothing is
    started before the first question, so it may be made before a fork.
    """

    def __init__(self, store: UsageStore, *, place: str = "", clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._place = f"{place}:"
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="limits")
        self._began: float | None = None  # when the question that is asked now was begun
        self._failed = float("-inf")  # when the last one without an answer ended
        self._tidied = 0
        # Used by the thread alone.
        self._seats: dict[str, Seat] = {}
        self._untold = True  # whether the database may know of other sessions than these

    # -- one message ---------------------------------------------------------------------------------------------------

    def refusal(self, holders: Sequence[Holder], *, accepted: int, size: int) -> Reply | None:
        """The refusal of one more recipient, or None; `accepted` is how many others the message has, `size` what was declared.

        Nothing is counted yet. Raises StoreUnavailable.
        """
        found = message_refusal(holders, recipients=accepted + 1, size=size, whole=False)
        counted = [holder for holder in holders if holder.counted]
        if found is not None or not counted:
            return found
        excess = self._ask(lambda: self._store.excess(counted, accepted, self._minute()), within=PATIENCE)
        return None if excess is None else _reply(excess, accepted + 1)

    def take(self, holders: Sequence[Holder], recipients: int) -> Taken | None:
        """Counts a message that is about to be accepted; None where nobody counts it. Raises Refused, StoreUnavailable."""
        counted = tuple(holder for holder in holders if holder.counted)
        if not counted:
            return None
        found = self._ask(partial(self._take, counted, Amount(messages=1, recipients=recipients)))
        if isinstance(found, Excess):
            raise Refused(_reply(found, recipients))
        return found

    def give_back(self, taken: Taken) -> None:
        """Takes back that a message was counted, where nothing came of it; what cannot be given back stays counted."""
        try:
            self._ask(lambda: self._store.give_back(taken.holders, taken.amount, taken.minute))
        except StoreUnavailable as error:
            log.warning("subject=%s verdict=failed reason=not given back: %s", taken.holders[0].subject, error)

    # -- sessions ------------------------------------------------------------------------------------------------------

    def enter(self, holders: Sequence[Holder]) -> Seat | None:
        """Counts a session that begins to send; None where nobody counts it. Raises Refused, StoreUnavailable."""
        if all(holder.limits.sessions is None for holder in holders):
            return None
        names = {holder.kind: holder.name for holder in holders}
        seat = Seat(id=secrets.token_hex(16), login=names["login"], account=names["account"])
        full = self._ask(partial(self._enter, seat, holders))
        if full is not None:
            raise Refused(too_many_sessions(full.kind, full.limits.sessions or 0))
        return seat

    def leave(self, seat: Seat) -> None:
        """Counts a session no more; does not wait."""
        self._thread.submit(self._leave, seat)

    def renew(self) -> None:
        """Tells that the sessions go on, and that others of the same place are over; does not wait. LIFE tells how often."""
        self._thread.submit(self._renew)

    # -- on the thread -------------------------------------------------------------------------------------------------

    def _take(self, holders: tuple[Holder, ...], amount: Amount) -> Taken | Excess:
        now = self._minute()
        if now - self._tidied >= TIDY:
            self._tidied = now
            self._thread.submit(self._forget, now)
        excess = self._store.take(holders, amount, now)
        return Taken(holders=holders, amount=amount, minute=now) if excess is None else excess

    def _enter(self, seat: Seat, holders: Sequence[Holder]) -> Holder | None:
        try:
            full = self._store.enter(seat, holders, self._owner(), int(self._clock()))
        except StoreUnavailable:
            self._untold = True  # it may be there all the same
            raise
        if full is None:
            self._seats[seat.id] = seat
        return full

    def _leave(self, seat: Seat) -> None:
        del self._seats[seat.id]
        try:
            self._store.leave(seat)
        except StoreUnavailable:
            self._untold = True

    def _renew(self) -> None:
        if self._seats or self._untold:
            with suppress(StoreUnavailable):  # the next time, then
                self._store.renew(self._seats.values(), self._owner(), self._place, int(self._clock()))
                self._untold = False

    def _forget(self, now: int) -> None:
        with suppress(StoreUnavailable):
            if self._store.forget(now):
                self._thread.submit(self._forget, now)  # behind those who wait

    def _owner(self) -> str:
        return f"{self._place}{os.getpid()}"

    def _minute(self) -> int:
        return int(self._clock()) // 60

    def _ask(self, question: Callable[[], Answer], within: float | None = None) -> Answer:
        """The answer of the database, asked in turn; of what is counted it must be heard to the end. Raises StoreUnavailable.

        Whoever waits while it fails another one fails with it, and nobody queues behind one that has waited for too long: else
        each of them would wait for that time anew.
        """
        asked = time.monotonic()
        began = self._began  # once: the thread changes it
        if began is not None and asked - began > PATIENCE:
            raise StoreUnavailable("the usage database is waited for already")
        future = self._thread.submit(self._answer, question, asked)
        try:
            return future.result(within)
        except TimeoutError as error:
            future.cancel()
            raise StoreUnavailable(f"the usage database did not answer within {PATIENCE:g} s") from error

    def _answer(self, question: Callable[[], Answer], asked: float) -> Answer:
        if asked < self._failed:
            raise StoreUnavailable("the usage database failed another one meanwhile")
        self._began = time.monotonic()
        try:
            return question()
        except StoreUnavailable:
            self._failed = time.monotonic()
            raise
        finally:
            self._began = None


def message_refusal(holders: Sequence[Holder], *, recipients: int, size: int, whole: bool) -> Reply | None:
    """The refusal of a message, or None, by what is known without counting; `whole` tells that it is there, at its end.

    `size` is in octets, `recipients` are different ones.
    """
    largest = _least([holder.limits.message_size for holder in holders])
    if largest is not None and size > largest:
        return too_large(largest)
    most = _least([holder.limits.recipients_message for holder in holders])
    if most is not None and recipients > most:
        return too_many_recipients(most, whole=whole)
    return None


def _least(limits: Sequence[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _reply(excess: Excess, recipients: int) -> Reply:
    limit = f"{excess.allowed} {excess.window.words}" + (" of this account" if excess.holder.kind == "account" else "")
    return limit_too_small(limit, recipients) if excess.free is None else limit_reached(limit, excess.free)
