"""What was accepted by the minute, and the sessions that send, in the usage database: SQLite or PostgreSQL.

Whether something fits and that it is counted is one transaction in which nobody else looks at or counts for the same login
or account: SQLite has one writer at a time, of PostgreSQL each of them is a lock (pg_advisory_xact_lock).
"""

import hashlib
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from policy.stores import StoreUnavailable
from policy.stores.engine import BUSY_MILLISECONDS, cause, connect_engine, database_file
from policy.stores.usage_schema import counters, sessions
from policy.usage import LONGEST, WINDOWS, Amount, Bucket, Excess, Holder, Window, free_at, latest

LIFE = 300  # seconds a session counts that nobody tells of any more
KEPT = 2 * LONGEST  # minutes that counts are kept: one window more than they count, for clocks that are set
MANY = 5_000  # rows removed in one transaction: other writers wait meanwhile
# For PostgreSQL, in milliseconds: to wait for another one's lock, and for a server that hangs.
_PATIENCE = f"SET lock_timeout = {BUSY_MILLISECONDS}; SET statement_timeout = 5000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A session that counts: its own identifier, and the names of its login and account."""

    id: str
    login: str
    account: str


class UsageStore:
    """Counters and sessions in a database whose schema is in place (see `policy.stores.migrate`).

    Every method raises StoreUnavailable where the database cannot answer. They may be called from several threads; each has
    a connection of its own. Nothing is opened before the first call, so it may be made before a fork. `now` is in minutes
    where it is about what was accepted, in seconds where it is about sessions; both UTC, since 1970.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url)
        self._file = database_file(url)
        self._thread = threading.local()
        self._insert: Any = sqlite.insert if self._file else postgresql.insert

    # -- what was accepted ---------------------------------------------------------------------------------------------

    def take(self, holders: Sequence[Holder], amount: Amount, now: int) -> Excess | None:
        """Counts a message for all of `holders`, or for none of them: then the limit that has no room for it for longest."""
        with self._transaction([holder.subject for holder in holders]) as connection:
            found = latest(
                excess
                for holder in holders
                for excess in self._excesses(connection, holder, now, there=Amount(messages=0, recipients=0), needed=amount)
            )
            if found is None:
                for holder in holders:
                    self._count(connection, holder.subject, amount, now)
        return found

    def give_back(self, holders: Sequence[Holder], amount: Amount, minute: int) -> None:
        """The inverse of a `take` in `minute`."""
        less = {name: counters.c[name] - getattr(amount, name) for name in Amount.__slots__}
        with self._transaction([holder.subject for holder in holders]) as connection:
            for holder in holders:
                taken = (counters.c.subject == holder.subject) & (counters.c.minute == minute)
                connection.execute(sa.update(counters).where(taken).values(less))

    def excess(self, holders: Sequence[Holder], recipients: int, now: int) -> Excess | None:
        """What a message with that many recipients would pass with one more; only a look, nothing is counted."""
        there, needed = Amount(messages=0, recipients=recipients), Amount(messages=1, recipients=1)
        with self._transaction() as connection:
            return latest(
                excess for holder in holders for excess in self._excesses(connection, holder, now, there=there, needed=needed)
            )

    def buckets(self, holder: Holder, window: Window, now: int) -> list[Bucket]:
        """What counts in a window, by minute."""
        with self._transaction() as connection:
            return self._buckets(connection, holder.subject, window, now)

    def forget(self, now: int) -> bool:
        """Removes some counts that are older than KEPT; whether there may be more of them."""
        old = sa.select(counters.c.subject, counters.c.minute).where(counters.c.minute < now - KEPT).limit(MANY)
        with self._transaction(["forget"]) as connection:
            removed = connection.execute(sa.delete(counters).where(sa.tuple_(counters.c.subject, counters.c.minute).in_(old)))
            connection.execute(sa.delete(sessions).where(sessions.c.renewed < now * 60 - LIFE))
            return removed.rowcount >= MANY

    # -- sessions ------------------------------------------------------------------------------------------------------

    def enter(self, seat: Seat, holders: Sequence[Holder], owner: str, now: int) -> Holder | None:
        """Adds a session, or tells whose limit has no room for it."""
        with self._transaction([holder.subject for holder in holders]) as connection:
            for holder in holders:
                most = holder.limits.sessions
                if most is not None and self._sessions(connection, holder, now) >= most:
                    return holder
            self._renew(connection, [seat], owner, now)
        return None

    def leave(self, seat: Seat) -> None:
        """Removes a session."""
        with self._transaction(["leave"]) as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.id == seat.id))

    def renew(self, seats: Collection[Seat], owner: str, place: str, now: int) -> None:
        """Tells that `seats` are those of `owner`, and that there are no others of owners whose name begins with `place`."""
        gone = sessions.c.owner.startswith(place, autoescape=True) & sessions.c.id.not_in([seat.id for seat in seats])
        with self._transaction(["renew"]) as connection:
            connection.execute(sa.delete(sessions).where(gone))
            self._renew(connection, seats, owner, now)

    def sessions(self, holder: Holder, now: int) -> int:
        """How many sessions a holder has."""
        with self._transaction() as connection:
            return self._sessions(connection, holder, now)

    def close(self) -> None:
        """Gives up the calling thread's connection."""
        connection = self._thread.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    # -- statements ----------------------------------------------------------------------------------------------------

    def _excesses(
        self, connection: sa.Connection, holder: Holder, now: int, *, there: Amount, needed: Amount
    ) -> Iterator[Excess]:
        """The limits of a holder that have no room for `needed` besides what is counted and `there`, the message's own."""
        limits = {window: most for window in WINDOWS if (most := holder.allowed(window)) is not None}
        used = self._used(connection, holder.subject, tuple(limits), now)
        for window, most in limits.items():
            own, wanted = getattr(there, window.counts), getattr(needed, window.counts)
            if used[window] + own + wanted > most:
                buckets = [*self._buckets(connection, holder.subject, window, now), Bucket(now, own)]
                free = free_at(buckets, window, needed=wanted, allowed=most, now=now)
                yield Excess(holder=holder, window=window, allowed=most, free=free)

    @staticmethod
    def _used(connection: sa.Connection, subject: str, windows: tuple[Window, ...], now: int) -> dict[Window, int]:
        if not windows:
            return {}
        # A sum, not rows: a busy login has one for each minute of the day.
        minute = counters.c.minute
        sums = [sa.func.sum(sa.case((minute >= each.oldest(now), counters.c[each.counts]), else_=0)) for each in windows]
        oldest = min(window.oldest(now) for window in windows)
        row = connection.execute(sa.select(*sums).where(counters.c.subject == subject, minute >= oldest)).one()
        return {window: int(found or 0) for window, found in zip(windows, row, strict=True)}

    @staticmethod
    def _buckets(connection: sa.Connection, subject: str, window: Window, now: int) -> list[Bucket]:
        counting = (counters.c.subject == subject) & (counters.c.minute >= window.oldest(now))
        rows = connection.execute(sa.select(counters.c.minute, counters.c[window.counts]).where(counting))
        return [Bucket(minute, number) for minute, number in rows]

    def _count(self, connection: sa.Connection, subject: str, amount: Amount, minute: int) -> None:
        found = {name: getattr(amount, name) for name in Amount.__slots__}
        statement = self._insert(counters).values(subject=subject, minute=minute, **found)
        more = {name: counters.c[name] + statement.excluded[name] for name in found}
        connection.execute(statement.on_conflict_do_update(index_elements=["subject", "minute"], set_=more))

    @staticmethod
    def _sessions(connection: sa.Connection, holder: Holder, now: int) -> int:
        theirs = (sessions.c[holder.kind] == holder.name) & (sessions.c.renewed >= now - LIFE)
        return connection.scalar(sa.select(sa.func.count()).select_from(sessions).where(theirs)) or 0

    def _renew(self, connection: sa.Connection, seats: Collection[Seat], owner: str, now: int) -> None:
        statement = self._insert(sessions)
        statement = statement.on_conflict_do_update(index_elements=["id"], set_={"renewed": now})
        for seat in seats:
            row = {"id": seat.id, "login": seat.login, "account": seat.account, "owner": owner, "renewed": now}
            connection.execute(statement, row)

    # -- connections ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, alone: Collection[str] = ()) -> Iterator[sa.Connection]:
        """A transaction; with names in `alone` it writes, and no other one with any of them runs at the same time."""
        try:
            connection = self._connection()
            with connection.begin():
                if alone and self._file:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    for key in sorted(map(_key, alone)):  # in one order, or two would wait for each other
                        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
                yield connection
        except (SQLAlchemyError, OSError) as error:
            self.close()
            raise StoreUnavailable(cause(error)) from error

    def _connection(self) -> sa.Connection:
        inode = None
        if self._file:
            found = os.stat(self._file)  # noqa: PTH116  # quicker than by the Path, before each look
            inode = found.st_dev, found.st_ino
        if self._thread.__dict__.get("inode") != inode:
            self.close()  # to a file that was replaced: what is counted there counts nowhere else
        connection: sa.Connection | None = self._thread.__dict__.get("connection")
        if connection is None:
            connection = self._engine.connect()
            self._thread.connection, self._thread.inode = connection, inode
            if not self._file:
                with connection.begin():
                    connection.exec_driver_sql(_PATIENCE)
        return connection


def _key(name: str) -> int:
    """The number of the lock of that name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
